from __future__ import annotations

import pytest

from outrider.config.errors import ConfigError, ConfigErrors, raise_all


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("is bad"), "is bad"),
        (ConfigError("is bad", "a.b[0]"), "a.b[0]: is bad"),
        (ConfigError("is bad", "a.b[0]", "f.yaml", 3), "f.yaml:3: a.b[0]: is bad"),
        (ConfigError("is bad", "a", "f.yaml", 3, 7), "f.yaml:3:7: a: is bad"),
        (ConfigError("is bad", None, None, 3), "line 3: is bad"),
        (ConfigError("is bad", None, "f.yaml"), "f.yaml: is bad"),
    ],
)
def test_one_line_names_what_is_known(error: ConfigError, line: str) -> None:
    assert str(error) == line
    assert list(error.errors) == [error]


def test_several_errors_are_flat_and_one_per_line() -> None:
    first, second, third = ConfigError("one", "a"), ConfigError("two", "b"), ConfigError("three")
    errors = ConfigErrors([ConfigErrors([first, second]), third])
    assert list(errors.errors) == [first, second, third]
    assert str(errors) == "a: one\nb: two\nthree"
    assert (errors.text, errors.path) == ("one", "a")


def test_thousands_of_errors_are_cut() -> None:
    lines = str(ConfigErrors([ConfigError(str(number)) for number in range(5000)])).splitlines()
    assert len(lines) == 101
    assert lines[-1] == "... and 4900 more"


def test_raise_all() -> None:
    raise_all([])
    single = ConfigError("x")
    with pytest.raises(ConfigError) as caught:
        raise_all([single])
    assert caught.value is single
    with pytest.raises(ConfigErrors):
        raise_all([single, ConfigError("y")])
    with pytest.raises(ValueError, match="at least one"):
        ConfigErrors([])
