"""Real configurations: what Envoy takes is read; what Envoy cannot read is refused, at once and with a place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from outrider.config.bootstrap import load_bootstrap
from outrider.config.errors import ConfigError

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
# The messages by which Envoy refuses a file while it reads it, before anything is built.
UNREADABLE = re.compile(r"Unable to parse JSON|has unknown fields|Proto constraint|now-deprecated value|yaml-cpp")
# Envoy stops at the first fault; these have one more that we report together with it.
STRICTER = frozenset(("resources/listener-kuma-meshtrafficpermission-apply-ze-listener-with-mtp.yaml",))

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus beside the checkout"),
]


def entries() -> list[dict[str, Any]]:
    if not CORPUS.is_dir():
        return []
    found: list[dict[str, Any]] = json.loads((CORPUS / "verdicts.json").read_text())
    return found


def prepared(entry: dict[str, Any]) -> str:
    text = (CORPUS / entry["file"]).read_text()
    if entry.get("wrap"):
        lines = []
        for line in (CORPUS / entry["wrap"]).read_text().splitlines():
            mark = re.fullmatch(r"( *)@@INSERT@@", line)
            if mark is None:
                lines.append(line)
            else:
                lines += [mark.group(1) + piece if piece.strip() else piece for piece in text.splitlines()]
        text = "\n".join(lines) + "\n"
    return text.replace("{{ASSETS}}", "/assets")


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry["file"])
def test_corpus(entry: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / f"config{Path(entry['file']).suffix}"
    path.write_text(prepared(entry))
    refused = entry["verdict"] != "ok" and UNREADABLE.search(entry["message"]) is not None
    try:
        view = load_bootstrap(str(path))
    except ConfigError as error:
        assert refused or entry["file"] in STRICTER, str(error)
        for single in error.errors:
            assert single.file == str(path)
            assert single.line is not None
            assert single.text
    else:
        assert not refused, entry["message"]
        assert view.type_name == "envoy.config.bootstrap.v3.Bootstrap"
