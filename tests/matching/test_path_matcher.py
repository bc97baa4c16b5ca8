from __future__ import annotations

import pytest

from outrider.config.errors import ConfigError
from outrider.matching.path_matcher import parse_path_matcher
from tests.matching.support import view_of

MESSAGE = "envoy.type.matcher.v3.PathMatcher"


@pytest.mark.parametrize(("path", "expected"), [(b"/a", True), (b"/a?b", True), (b"/a#b?c", True), (b"/ab", False)])
def test_matches(path: bytes, expected: bool) -> None:
    matcher = parse_path_matcher(view_of(MESSAGE, {"path": {"exact": "/a"}}))
    assert matcher.matches(path) is expected
    assert matcher.describe() == "path = '/a'"


def test_path_is_required() -> None:
    with pytest.raises(ConfigError):
        parse_path_matcher(view_of(MESSAGE, {}))
