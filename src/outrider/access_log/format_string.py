"""`envoy.config.core.v3.SubstitutionFormatString`: a text or JSON format with its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.access_log.cel_ops import COMMANDS as CEL_COMMANDS
from outrider.access_log.cel_ops import cel_command
from outrider.access_log.formatter import CommandParser, LineFormatter, parse_format
from outrider.access_log.json_format import parse_json_format
from outrider.access_log.operation import FormatOp
from outrider.access_log.syntax import LENGTH_ALLOWED, PARAMS_REQUIRED, FormatError, check_syntax
from outrider.cel.program import CelConfig
from outrider.config.data_source import read_data_source
from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.config.view import View

DEFAULT_FORMAT: Final = (
    '[%START_TIME%] "%REQUEST_HEADER(:METHOD)% %REQUEST_HEADER(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" '
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    '%RESPONSE_HEADER(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQUEST_HEADER(X-FORWARDED-FOR)%" '
    '"%REQUEST_HEADER(USER-AGENT)%" "%REQUEST_HEADER(X-REQUEST-ID)%" "%REQUEST_HEADER(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'
)

# Extensions that add commands: factories `(config, context) -> CommandParser`.
FORMATTERS: Final[ExtensionRegistry[CommandParser]] = ExtensionRegistry("envoy.formatter")


class FormatString:
    """A compiled format and what a body made by it is called."""

    __slots__ = ("formatter", "content_type")

    def __init__(self, formatter: LineFormatter, content_type: bytes) -> None:
        self.formatter = formatter
        # Of a local reply in this format.
        self.content_type = content_type


def default_formatter() -> LineFormatter:
    """Envoy's default log line."""
    return parse_format(DEFAULT_FORMAT)


def parse_format_string(view: View, context: Any) -> FormatString:
    """From a SubstitutionFormatString view. Raises ConfigError."""
    parsers = [FORMATTERS.create(extension, context) for extension in view.messages("formatters")]
    omit_empty = view.flag("omit_empty_values")
    kind = view.which("format")
    options = view.message("json_format_options")
    if options is not None:
        # Envoy sorts keys with and without it.
        options.accept("sort_properties")
    try:
        if kind == "json_format":
            template = view.struct("json_format")
            formatter: LineFormatter = parse_json_format(template or {}, parsers, omit_empty)
            content_type = "application/json"
        elif kind == "text_format":
            formatter = parse_format(view.text("text_format"), parsers, omit_empty)
            content_type = "text/plain"
        elif kind == "text_format_source":
            source = view.message("text_format_source")
            assert source is not None
            formatter = parse_format(data_source_text(source), parsers, omit_empty)
            content_type = "text/plain"
        else:
            raise view.error("a format is required: text_format, json_format or text_format_source")
    except FormatError as error:
        raise view.error(str(error), kind) from None
    return FormatString(formatter, (view.text("content_type") or content_type).encode())


def data_source_text(view: View) -> str:
    """What a `DataSource` holds, read now. Raises ConfigError."""
    return read_data_source(view).decode("utf-8", "surrogateescape")


def _without_query(command: str, argument: str, length: int | None) -> FormatOp | None:
    from outrider.access_log.header_ops import RequestHeaderWithoutQueryOp, split_alternative

    if command != "REQ_WITHOUT_QUERY":
        return None
    check_syntax(PARAMS_REQUIRED | LENGTH_ALLOWED, command, argument, length)
    main, alternative = split_alternative(argument)
    return RequestHeaderWithoutQueryOp(main, alternative, -1 if length is None else length)


def _nothing(command: str, argument: str, length: int | None) -> FormatOp | None:
    return None


@FORMATTERS.register(
    "envoy.formatter.req_without_query", "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"
)
def create_req_without_query(config: View, context: Any) -> CommandParser:
    return _without_query


class _CelParser:
    """The two commands with the language options of an extension."""

    def __init__(self, config: CelConfig) -> None:
        self.config = config

    def __call__(self, command: str, argument: str, length: int | None) -> FormatOp | None:
        if command not in CEL_COMMANDS:
            return None
        return cel_command(command, argument, length, self.config)


@FORMATTERS.register("envoy.formatter.cel", "envoy.extensions.formatter.cel.v3.Cel")
def create_cel(config: View, context: Any) -> CommandParser:
    return _CelParser(CelConfig(config.message("cel_config")))


@FORMATTERS.register("envoy.formatter.metadata", "envoy.extensions.formatter.metadata.v3.Metadata")
def create_metadata(config: View, context: Any) -> CommandParser:
    # %METADATA% is built in since it stopped being an extension.
    return _nothing
