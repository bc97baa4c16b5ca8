"""Runs `--mode validate` over a corpus of real configurations and compares with the real Envoy's verdicts.

    python tools/corpus_report.py [CORPUS] [--write] [--json FILE]

CORPUS (default ../shared/corpus) holds verdicts.json and the files it names. Files of the v1.16 era, whose filters are
named without a typed_config, are judged by what Envoy says once the types are added. Each configuration is validated in
a fork of this process, which has everything imported already. `--write` renews docs/corpus.md.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = ROOT.parent / "shared" / "corpus"
PAGE = ROOT / "docs" / "corpus.md"
TIMEOUT_S = 60

Result = tuple[dict[str, object], str, str]


def prepare(corpus: Path, entry: dict[str, object], assets: Path) -> str:
    """The text to validate: the file itself, or its wrapper with the file in place of the mark."""
    text = (corpus / str(entry["file"])).read_text(encoding="utf-8")
    wrapper = entry.get("wrap")
    if wrapper:
        lines: list[str] = []
        for line in (corpus / str(wrapper)).read_text(encoding="utf-8").splitlines():
            mark = re.fullmatch(r"( *)@@INSERT@@", line)
            if mark is None:
                lines.append(line)
            else:
                lines += [mark.group(1) + piece if piece.strip() else piece for piece in text.splitlines()]
        text = "\n".join(lines) + "\n"
    return text.replace("{{ASSETS}}", str(assets))


def expected(entry: dict[str, object]) -> str:
    """Envoy's verdict, old forms judged by what they mean."""
    added = entry.get("with_types_added")
    if isinstance(added, dict):
        return str(added["then"])
    return str(entry["verdict"])


def validate(path: Path, arguments: list[str], folder: Path) -> tuple[str, str]:
    """The verdict of a forked validation, and what it printed."""
    output = folder / "output"
    child = os.fork()
    if child == 0:
        code = 70
        try:
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            os.chdir(folder)
            from outrider.cli import main as outrider

            sys.argv = ["outrider", "--mode", "validate", "-c", str(path), *arguments]
            code = outrider()
            sys.stdout.flush()
            sys.stderr.flush()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    text = output.read_text(errors="replace")
    if os.WIFSIGNALED(status) or "Traceback (most recent call last)" in text:
        return "crashed", text
    return ("ok" if os.WEXITSTATUS(status) == 0 else "rejected"), text


def run(corpus: Path) -> list[Result]:
    """(entry, our verdict, our output) for each entry of the corpus."""
    import outrider.cli
    import outrider.server.run
    from outrider.extensions.all_extensions import load_extensions

    assert outrider.cli and outrider.server.run
    load_extensions()
    entries = json.loads((corpus / "verdicts.json").read_text())
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="corpus-") as name:
        folder = Path(name)
        assets = folder / "assets"
        shutil.copytree(corpus / "bootstraps" / "assets", assets)
        for needed in ("runtime/current", "var/log", "var/cache"):
            (assets / needed).mkdir(parents=True, exist_ok=True)
        for number, entry in enumerate(entries):
            place = folder / str(number)
            place.mkdir()
            path = place / f"config{Path(entry['file']).suffix}"
            path.write_text(prepare(corpus, entry, assets), encoding="utf-8")
            verdict, text = validate(path, list(entry.get("args", [])), place)
            results.append((entry, verdict, text))
    return results


def obstacles(results: list[Result]) -> list[tuple[int, str]]:
    """What stands in the way of files that Envoy accepts: (files, field or extension), most frequent first."""
    counts: collections.Counter[str] = collections.Counter()
    for entry, verdict, text in results:
        if verdict == "ok" or expected(entry) != "ok":
            continue
        found = re.search(r"with type URL: '([^']+)'", text)
        if found is None:
            found = re.search(r"field '([^']+)' is set but not supported", text)
        what = found.group(1) if found else "other reasons"
        counts[re.sub(r"\[[^\]]*\]", "", what)] += 1
    return [(number, what) for what, number in counts.most_common()]


def page(results: list[Result]) -> str:
    """The text of docs/corpus.md."""
    agree = sum(1 for entry, verdict, _ in results if verdict == expected(entry))
    accepted = [entry for entry, _, _ in results if expected(entry) == "ok"]
    ours = sum(1 for entry, verdict, _ in results if verdict == "ok" and expected(entry) == "ok")
    wrong = sum(1 for entry, verdict, _ in results if verdict == "ok" and expected(entry) != "ok")
    lines = [
        "## Real-world configurations",
        "",
        f"Of {len(results)} configurations of others, each with the real Envoy's verdict, Outrider agrees on {agree}",
        f"({100 * agree // len(results)} %): of the {len(accepted)} that Envoy accepts it accepts {ours} and refuses",
        f"the rest by the path of an unsupported field; of those that Envoy rejects it accepts {wrong}.",
        "What stands in the way:",
        "",
        "| files | field or extension |",
        "|--:|---|",
    ]
    lines += [f"| {number} | `{what[-100:]}` |" for number, what in obstacles(results)[:40]]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="?", type=Path, default=DEFAULT)
    parser.add_argument("--write", action="store_true", help="renew docs/corpus.md")
    parser.add_argument("--json", type=Path, help="write every verdict here")
    options = parser.parse_args()
    if not (options.corpus / "verdicts.json").is_file():
        print(f"no corpus at {options.corpus}", file=sys.stderr)
        return 1
    results = run(options.corpus.resolve())
    for entry, verdict, text in results:
        if verdict == "crashed":
            print(f"CRASHED {entry['file']}: {text.strip().splitlines()[-1]}")
        elif verdict == "ok" and expected(entry) != "ok":
            print(f"ACCEPTED {entry['file']}: Envoy says {entry['message']}")
    print(page(results))
    if options.write:
        PAGE.write_text(page(results))
    if options.json:
        options.json.write_text(
            json.dumps([[entry["file"], verdict, expected(entry), text[-600:]] for entry, verdict, text in results])
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
