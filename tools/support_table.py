"""Writes docs/support.md: every capability of Envoy 1.40 with *works*, *partly* or *no*.

    python tools/support_table.py [--import-features FILE] [--check]

Rows are those of docs/capabilities.json (section, capability, names, tier). The state of a row is found where it can
be: a configuration field works when a factory reads it (docs/reads.json, recorded by tools/read_recorder.py; a field
that nobody reads is refused when it is set), an extension when it is registered, an access-log operator when the
formatter knows it, a command line flag when the parser takes it. What no program can tell is judged by hand in
docs/support_notes.json, whose word also wins over the rest.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CAPABILITIES = ROOT / "docs" / "capabilities.json"
NOTES = ROOT / "docs" / "support_notes.json"
READS = ROOT / "docs" / "reads.json"
OUTPUT = ROOT / "docs" / "support.md"

WORKS = "works"
PARTLY = "partly"
NO = "no"


def import_features(path: Path) -> list[dict[str, object]]:
    """The rows of the numbered tables of a feature map in Markdown."""
    rows: list[dict[str, object]] = []
    section = ""
    for line in path.read_text().splitlines():
        heading = re.match(r"## (\d+)\. (.*)", line)
        if heading:
            section = heading.group(2)
        elif line.startswith("## "):
            section = ""
        elif section and line.startswith("| ") and not line.startswith(("| capability", "|---")):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            if len(cells) < 3 or not cells[2].isdigit():
                continue
            names = re.findall(r"`([^`]+)`", cells[1])
            flags = re.findall(r"--[a-z][a-z0-9-]+", cells[1]) if section == "CLI and process" else []
            text = cells[1] if not names else ""
            rows.append(
                {
                    "section": section,
                    "capability": cells[0].replace("\\|", "|").replace("`", ""),
                    # The flag is what a user types; the proto field behind it only shows it.
                    "names": flags or names,
                    "hint": text if text not in ("—", "") and not flags else "",
                    "tier": int(cells[2]),
                }
            )
    return rows


class Judge:
    """Finds the state of a row."""

    def __init__(self) -> None:
        from outrider.config import api
        from outrider.extensions.all_extensions import load_extensions
        from outrider.registry import CATEGORIES
        from outrider.server.usage import USAGE

        load_extensions()
        import outrider.access_log.loggers  # noqa: F401

        self.reads: dict[str, list[str]] = json.loads(READS.read_text())
        self.notes: dict[str, list[str]] = json.loads(NOTES.read_text()) if NOTES.exists() else {}
        self.usage = USAGE
        table = (ROOT / "src" / "outrider" / "server" / "admin" / "table.py").read_text()
        self.endpoints = set(re.findall(r'"(/[a-z_/]*)"', table))
        self.extensions: set[str] = set()
        for registry in CATEGORIES.values():
            for extension in registry.all():
                self.extensions.add(extension.name)
                if extension.type_name:
                    self.extensions.add(extension.type_name)
        self.messages: dict[str, list[str]] = {}
        for name in api.symbols():
            parts = name.split(".")
            for start in range(len(parts)):
                self.messages.setdefault(".".join(parts[start:]), []).append(name)

    def state(self, row: dict[str, object]) -> tuple[str, str]:
        """The state and a remark (what is missing)."""
        key = f"{row['section']}|{row['capability']}"
        note = self.notes.get(key)
        if note is not None:
            return note[0], note[1]
        capability = str(row["capability"])
        operator = re.match(r"Operator %([A-Z0-9_]+)", capability)
        if operator:
            return (WORKS, "") if operator_known(operator.group(1)) else (NO, "")
        endpoint = re.match(r"(?:GET|POST) (/[a-z_/]*)", capability)
        if endpoint:
            return (WORKS, "") if endpoint.group(1) in self.endpoints else (NO, "")
        names = row["names"]
        assert isinstance(names, list)
        known = [(name, self.supported(str(name), str(row["section"]))) for name in names]
        judged = [(name, verdict) for name, verdict in known if verdict is not None]
        if not judged:
            return NO, ""
        missing = [name for name, verdict in judged if not verdict]
        if not missing:
            return WORKS, ""
        if len(missing) == len(judged):
            return NO, ""
        return PARTLY, "without " + ", ".join(f"`{name}`" for name in missing)

    def supported(self, name: str, section: str) -> bool | None:
        """None when this cannot be told from the name."""
        if name.startswith("--"):
            return name in self.usage
        if name in self.extensions:
            return True
        if name.startswith("envoy.") and name not in self.messages:
            return False
        if section == "Access logs" and re.fullmatch(r"%?[A-Z][A-Z0-9_]+(\(.*\))?%?", name):
            return operator_known(name.strip("%"))
        if name in self.messages:
            return any(message in self.reads for message in self.messages[name])
        message, _, field = name.rpartition(".")
        candidates = self.messages.get(message, [])
        if candidates:
            return any(field in self.reads.get(candidate, ()) for candidate in candidates)
        return None


# One of these fits every operator.
PARAMETERS = (
    "", "(x)", "(x:y)", "(DS_RX_BEG:DS_RX_END:ms)", "(ROUTE:x)", "(key:PLAIN)", "(CAMEL_STRING)", "(DOWNSTREAM)",
    "(16)", "(SNI_FIRST:ORIG)", "(LOWER)", "(1:2)", "(%x%)", "({\"operators\":[{\"command\":\"PROTOCOL\"}]})",
)


def operator_known(name: str) -> bool:
    """Whether the formatter takes the operator, with some parameter if it needs one."""
    from outrider.access_log.formatter import parse_format

    plain = name.split("(", maxsplit=1)[0]
    for parameter in PARAMETERS:
        try:
            parse_format(f"%{plain}{parameter}%")
        except Exception:
            continue
        return True
    return False


def render(rows: list[dict[str, object]], judge: Judge) -> str:
    """The page."""
    states = [judge.state(row) for row in rows]
    lines = [
        "# What is supported",
        "",
        "Every capability of Envoy 1.40, by its map of features. Made by `tools/support_table.py` from the registry of",
        "extensions, the fields that the configuration factories read and the judgements in `docs/support_notes.json`;",
        "do not edit. A valid field that does not work is refused by its path (`--unsupported=warn` makes that a",
        "warning). Tier 1 is used by nearly every deployment, 4 is exotic.",
        "",
        "| tier | works | partly | no |",
        "|---|--:|--:|--:|",
    ]
    for tier in (1, 2, 3, 4):
        found = [state for row, (state, _) in zip(rows, states, strict=True) if row["tier"] == tier]
        counts = [found.count(state) for state in (WORKS, PARTLY, NO)]
        lines.append(f"| {tier} | " + " | ".join(str(count) for count in counts) + " |")
    corpus = ROOT / "docs" / "corpus.md"
    if corpus.exists():
        lines += ["", corpus.read_text().strip()]
    section = ""
    for row, (state, remark) in zip(rows, states, strict=True):
        if row["section"] != section:
            section = str(row["section"])
            lines += ["", f"## {section}", "", "| capability | tier | state | remark |", "|---|:-:|---|---|"]
        shown = str(row["capability"]).replace("|", "\\|")
        lines.append(f"| {shown} | {row['tier']} | {state} | {remark.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--import-features", type=Path, help="renew docs/capabilities.json from a feature map")
    parser.add_argument("--check", action="store_true", help="fail when docs/support.md is not up to date")
    options = parser.parse_args()
    if options.import_features:
        rows = import_features(options.import_features)
        CAPABILITIES.write_text(json.dumps(rows, indent=0, ensure_ascii=False) + "\n")
    text = render(json.loads(CAPABILITIES.read_text()), Judge())
    if options.check:
        if OUTPUT.read_text() != text:
            print("docs/support.md is not up to date: run tools/support_table.py", file=sys.stderr)
            return 1
        return 0
    OUTPUT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
