"""An expression, compiled once, evaluated for each stream that asks."""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING, Any, Final

from outrider.cel import times
from outrider.cel.attributes import NAMES, ROOTS, Attributes
from outrider.config import api

if TYPE_CHECKING:
    from outrider.config.view import View

# The functions that Envoy's engine has; those of the later groups only where `cel_config` says so.
_FUNCTIONS: Final = frozenset(
    (
        "_&&_", "_||_", "!_", "_?_:_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_+_", "_-_", "_*_", "_/_", "_%_",
        "-_", "_[_]", "@in", "_in_", "in", "size", "contains", "startsWith", "endsWith", "matches", "int", "uint",
        "double", "bool", "bytes", "dyn", "type", "duration", "timestamp", "getFullYear", "getMonth", "getDate",
        "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes", "getSeconds", "getMilliseconds",
        "@not_strictly_false", "__not_strictly_false__",
    )
)  # fmt: skip
_STRING_CONVERSION: Final = frozenset(("string",))
_STRING_FUNCTIONS: Final = frozenset(
    ("lowerAscii", "upperAscii", "replace", "split", "join", "trim", "substring", "indexOf", "lastIndexOf", "charAt",
     "format", "reverse")
)  # fmt: skip
_CHECKED: Final = "cel.expr.CheckedExpr"
_PARSED: Final = "cel.expr.ParsedExpr"

# The engine's environments, by whether string functions are on. Making one takes 40 ms.
_ENVIRONMENTS: dict[bool, Any] = {}


class CelError(ValueError):
    """An expression that does not compile; the text is Envoy's where it has one."""


class CelConfig:
    """`CelExpressionConfig`"""

    __slots__ = ("string_concat", "string_conversion", "string_functions")

    def __init__(self, view: View | None = None) -> None:
        self.string_conversion = view is not None and view.flag("enable_string_conversion")
        self.string_concat = view is not None and view.flag("enable_string_concat")
        self.string_functions = view is not None and view.flag("enable_string_functions")


class CelProgram:
    """A compiled expression."""

    __slots__ = ("_expression", "source", "wanted")

    def __init__(self, expression: Any, wanted: dict[str, tuple[str, ...]], source: str) -> None:
        self._expression = expression
        # The roots that it names, each with the attributes that it names there (none: all).
        self.wanted = wanted
        self.source = source

    def evaluate(self, attributes: Attributes) -> Any:
        """The engine's value, None where the expression has none (an attribute is missing, types do not fit)."""
        data = {root: _prepared(value) for root, value in attributes.activation(self.wanted).items()}
        result = self._expression.eval(data=data)
        return None if result.type().name() == "ERROR" else result

    def is_true(self, attributes: Attributes) -> bool:
        """Whether the value is the boolean true."""
        result = self.evaluate(attributes)
        return result is not None and result.type().name() == "BOOL" and bool(result.value())

    def text(self, attributes: Attributes) -> str | None:
        """The value as `%CEL%` prints it."""
        result = self.evaluate(attributes)
        return None if result is None else text_of(result)

    def json(self, attributes: Attributes) -> object:
        """The value as `%TYPED_CEL%` has it in JSON."""
        result = self.evaluate(attributes)
        return None if result is None else json_of(result.plain_value())


def compile_text(source: str, config: CelConfig | None = None) -> CelProgram:
    """From its text. Raises CelError."""
    config = config or CelConfig()
    environment = _environment(config.string_functions)
    try:
        parsed = environment.compile(source, disable_check=True)
    except RuntimeError as error:
        detail = str(error).removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
        raise CelError(f"Not able to parse expression: {detail}") from None
    return _finish(_message_of(parsed.serialize()), source, config)


def compile_parsed(expression: bytes, config: CelConfig | None = None) -> CelProgram:
    """From a serialized `Expr`, of `cel.expr` or `google.api.expr.v1alpha1`, which are the same. Raises CelError."""
    parsed: Any = api.new(_PARSED)
    parsed.expr.ParseFromString(expression)
    return _finish(parsed, "", config or CelConfig())


def _environment(string_functions: bool) -> Any:
    found = _ENVIRONMENTS.get(string_functions)
    if found is None:
        try:
            from cel_expr_python import cel
        except ImportError:
            raise CelError("expressions need the package cel-expr-python, which is not installed here") from None
        extensions: list[Any] = []
        if string_functions:
            from cel_expr_python.ext import ext_strings

            extensions.append(ext_strings.ExtStrings())
        found = cel.NewEnv(variables=dict.fromkeys(ROOTS, cel.Type.DYN), extensions=extensions)
        _ENVIRONMENTS[string_functions] = found
    return found


def _message_of(serialized: bytes) -> Any:
    packed: Any = api.new("google.protobuf.Any")
    packed.ParseFromString(serialized)
    message: Any = api.new(api.type_name(packed.type_url))
    message.ParseFromString(packed.value)
    return message


def _finish(parsed: Any, source: str, config: CelConfig) -> CelProgram:
    walk = _Walk(config)
    walk.visit(parsed.expr)
    packed: Any = api.new("google.protobuf.Any")
    packed.type_url = f"type.googleapis.com/{_PARSED}"
    packed.value = parsed.SerializeToString()
    try:
        expression = _environment(config.string_functions).deserialize(packed.SerializeToString())
    except RuntimeError as error:
        raise CelError(f"failed to create an expression: {error}") from None
    return CelProgram(expression, {root: tuple(sorted(names)) for root, names in walk.wanted.items()}, source)


class _Walk:
    """Looks through an expression: what it names, what it may not use; header names become lower case."""

    def __init__(self, config: CelConfig) -> None:
        self.functions = _FUNCTIONS
        if config.string_conversion:
            self.functions = self.functions | _STRING_CONVERSION
        if config.string_functions:
            self.functions = self.functions | _STRING_FUNCTIONS
        self.wanted: dict[str, set[str]] = {}
        self._whole: set[str] = set()

    def visit(self, expression: Any) -> None:
        kind = expression.WhichOneof("expr_kind")
        if kind == "ident_expr":
            self._want_all(expression.ident_expr.name)
        elif kind == "select_expr":
            self._select(expression.select_expr)
        elif kind == "call_expr":
            self._call(expression.call_expr)
        elif kind == "list_expr":
            for each in expression.list_expr.elements:
                self.visit(each)
        elif kind == "struct_expr":
            for entry in expression.struct_expr.entries:
                if entry.WhichOneof("key_kind") == "map_key":
                    self.visit(entry.map_key)
                self.visit(entry.value)
        elif kind == "comprehension_expr":
            raise CelError("failed to create an expression: Comprehension support is disabled")

    def _select(self, select: Any) -> None:
        if _is_headers(select.operand):
            select.field = select.field.lower()
        if select.operand.WhichOneof("expr_kind") == "ident_expr":
            self._want(select.operand.ident_expr.name, select.field)
        else:
            self.visit(select.operand)

    def _call(self, call: Any) -> None:
        if call.function not in self.functions:
            raise CelError(
                f"failed to create an expression: No overload found in reference resolve step for {call.function}"
            )
        if call.HasField("target"):
            self.visit(call.target)
        if call.function == "_[_]" and len(call.args) == 2 and _text_of(call.args[1]) is not None:
            holder, key = call.args
            if _is_headers(holder):
                key.const_expr.string_value = key.const_expr.string_value.lower()
            if holder.WhichOneof("expr_kind") == "ident_expr":
                self._want(holder.ident_expr.name, key.const_expr.string_value)
                return
        for each in call.args:
            self.visit(each)

    def _want(self, root: str, name: str) -> None:
        if root not in ROOTS:
            return
        names = self.wanted.setdefault(root, set())
        if root not in NAMES or root in self._whole:
            return
        if name in NAMES[root]:
            names.add(name)
        elif not names:
            # Nothing that exists: anything that does keeps the root from being read whole.
            names.add(NAMES[root][0])

    def _want_all(self, root: str) -> None:
        if root in ROOTS:
            self._whole.add(root)
            self.wanted[root] = set()


def _is_headers(expression: Any) -> bool:
    """Whether it is `request.headers`, `response.headers` or `response.trailers`."""
    if expression.WhichOneof("expr_kind") != "select_expr":
        return False
    select = expression.select_expr
    return (
        select.field in ("headers", "trailers")
        and select.operand.WhichOneof("expr_kind") == "ident_expr"
        and select.operand.ident_expr.name in ("request", "response")
    )


def _text_of(expression: Any) -> str | None:
    if expression.WhichOneof("expr_kind") != "const_expr":
        return None
    constant = expression.const_expr
    return constant.string_value if constant.WhichOneof("constant_kind") == "string_value" else None


def _prepared(value: object) -> object:
    """With points in time and durations as the engine takes them."""
    if isinstance(value, dict):
        return {key: _prepared(each) for key, each in value.items()}
    if isinstance(value, times.Timestamp):
        from google.protobuf.timestamp_pb2 import Timestamp

        return Timestamp(seconds=value.nanos // 1_000_000_000, nanos=value.nanos % 1_000_000_000)
    if isinstance(value, times.Duration):
        from google.protobuf.duration_pb2 import Duration

        return Duration(seconds=value.nanos // 1_000_000_000, nanos=value.nanos % 1_000_000_000)
    return value


def text_of(result: Any) -> str | None:
    """A value as Envoy's engine prints it."""
    name = result.type().name()
    value = result.value()
    if name.startswith("MAP"):
        return "CelMap value"
    if name.startswith("LIST"):
        return "CelList value"
    if name.startswith("TYPE"):
        return "CelType value"
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "surrogateescape")
    if isinstance(value, datetime.datetime):
        return times.timestamp_text(value)
    if isinstance(value, datetime.timedelta):
        return times.duration_text(value)
    return str(value)


def json_of(value: object) -> object:
    """A plain value as JSON has it."""
    if isinstance(value, dict):
        return {str(key): json_of(each) for key, each in value.items()}
    if isinstance(value, list):
        return [json_of(each) for each in value]
    if isinstance(value, bytes | bytearray):
        import base64

        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, datetime.datetime):
        return times.timestamp_json(value)
    if isinstance(value, datetime.timedelta):
        return times.duration_json(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e10:
        return int(value)
    return value if value is None or isinstance(value, str | int | float) else None


def _number(value: float) -> str:
    if math.isnan(value):
        return "nan"
    return f"{value:g}"
