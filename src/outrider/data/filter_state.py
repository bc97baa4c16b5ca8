"""Filter state: typed objects that filters leave for each other, on a stream or on a connection."""

from __future__ import annotations

from mypy_extensions import mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class FilterStateObject:
    """A value of `filter_state`. The three forms are those of `%FILTER_STATE(key:PLAIN|TYPED|FIELD:name)%`."""

    def serialize(self) -> str | None:
        """PLAIN; None where the object has no such form."""
        return None

    def serialize_typed(self) -> object:
        """TYPED, as JSON would hold it: None, bool, int, float, str, list or dict."""
        return None

    def field(self, name: str) -> object:
        """FIELD: a str or int, None where there is none of that name."""
        return None


class StringState(FilterStateObject):
    """`envoy.string`: what most filters store."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def serialize(self) -> str | None:
        return self.text

    def serialize_typed(self) -> object:
        return self.text

    def __repr__(self) -> str:
        return f"StringState({self.text!r})"
