"""Expressions in configuration messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.cel.program import CelConfig, CelError, CelProgram, compile_parsed, compile_text

if TYPE_CHECKING:
    from outrider.config.view import View


def text_field(view: View, name: str, config: View | None = None) -> CelProgram:
    """An expression as text in a field. Raises ConfigError."""
    try:
        return compile_text(view.text(name), CelConfig(config))
    except CelError as error:
        raise view.error(str(error), name) from None


def expression_field(view: View, name: str, config: View | None = None) -> CelProgram | None:
    """An expression as `Expr`, `ParsedExpr` or `CheckedExpr`; None where the field is not set. Raises ConfigError."""
    if not view.has(name):
        return None
    holder = view.raw(name)
    inner = holder if "expr" not in holder.DESCRIPTOR.fields_by_name else holder.expr  # type: ignore[attr-defined]
    try:
        return compile_parsed(inner.SerializeToString(), CelConfig(config))
    except CelError as error:
        raise view.error(str(error), name) from None


def cel_expression(view: View, config: View | None = None) -> CelProgram:
    """From a `xds.type.v3.CelExpression`. Raises ConfigError."""
    for name in ("cel_expr_parsed", "cel_expr_checked", "parsed_expr", "checked_expr"):
        if view.knows(name):
            found = expression_field(view, name, config)
            if found is not None:
                return found
    # `cel_expr_string` is for others: Envoy does not take it.
    raise view.error("failed to create an expression: CEL expression not set.")
