"""Whole messages for whole files: `golden/*.txt` holds an input, a line of dashes, and what the user is told.

The name says how the input is read: `x.yaml.txt` as YAML.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from outrider.config.bootstrap import load_bootstrap
from outrider.config.errors import ConfigError

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("case", sorted(GOLDEN.glob("*.txt")), ids=lambda path: path.stem)
def test_golden(case: Path, tmp_path: Path) -> None:
    text, _, expected = case.read_text().partition("\n-----\n")
    path = tmp_path / case.stem
    path.write_text(text + "\n")
    with pytest.raises(ConfigError) as caught:
        load_bootstrap(str(path))
    assert str(caught.value).replace(f"{tmp_path}/", "") == expected.rstrip("\n")
