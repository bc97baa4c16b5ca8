"""Expressions in matcher trees: the input that gives all attributes, and the matcher that asks an expression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.cel.attributes import Attributes
from outrider.cel.config import cel_expression
from outrider.matching.data import DataInput, InputMatcher, MatchingData
from outrider.matching.tree_loader import HTTP_INPUTS, INPUT_MATCHERS

if TYPE_CHECKING:
    from outrider.cel.program import CelProgram
    from outrider.config.view import View


class CelInput(DataInput):
    """`xds.type.matcher.v3.HttpAttributesCelMatchInput`: the attributes of the stream."""

    def data_type(self) -> str:
        return "cel_data_input"

    def get(self, data: MatchingData) -> object | None:
        info = data.stream_info
        if info is None:
            return None
        return Attributes(info, data.request_headers, data.response_headers, data.response_trailers)


class CelMatcher(InputMatcher):
    """`xds.type.matcher.v3.CelMatcher`: the expression is true."""

    def __init__(self, program: CelProgram) -> None:
        self.program = program

    def wanted_type(self) -> str:
        return "cel_data_input"

    def matches(self, value: object | None) -> bool:
        return isinstance(value, Attributes) and self.program.is_true(value)

    def describe(self) -> str:
        return self.program.source or "CEL expression"


@HTTP_INPUTS.register("envoy.matching.inputs.cel_data_input", "xds.type.matcher.v3.HttpAttributesCelMatchInput")
def create_input(view: View, context: Any) -> DataInput:
    return CelInput()


@INPUT_MATCHERS.register("envoy.matching.matchers.cel_matcher", "xds.type.matcher.v3.CelMatcher")
def create_matcher(view: View, context: Any) -> InputMatcher:
    # For people.
    view.text("description")
    expression = view.message("expr_match")
    if expression is None:
        raise view.error("value is required", "expr_match")
    return CelMatcher(cel_expression(expression))
