"""Http1ProtocolOptions as a plain object. Source: `envoy.config.core.v3.Http1ProtocolOptions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.matching.string_matcher import StringMatcher, parse_string_matcher
from outrider.native.parse_error import UNDERSCORE_ALLOW, UNDERSCORE_DROP, UNDERSCORE_REJECT

if TYPE_CHECKING:
    from outrider.config.view import View

# How field names are written.
FORMAT_NONE: Final = 0
FORMAT_PROPER: Final = 1
FORMAT_PRESERVE: Final = 2

DEFAULT_MAX_HEADERS_KB: Final = 60
DEFAULT_MAX_RESPONSE_HEADERS_KB: Final = 80
DEFAULT_MAX_HEADERS_COUNT: Final = 100

_PRESERVE_CASE: Final = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
_UNDERSCORES: Final = {
    "ALLOW": UNDERSCORE_ALLOW,
    "REJECT_REQUEST": UNDERSCORE_REJECT,
    "DROP_HEADER": UNDERSCORE_DROP,
}


class Http1Settings:
    """Options of the HTTP/1 codecs of one listener or cluster."""

    __slots__ = (
        "accept_http_10",
        "allow_absolute_url",
        "allow_chunked_length",
        "allow_custom_methods",
        "default_host_for_http_10",
        "enable_trailers",
        "forward_reason_phrase",
        "header_format",
        "ignored_upgrades",
        "proper_case_for_own",
        "refuse_https_on_plaintext",
        "send_fully_qualified_url",
        "stream_error_on_invalid_http_message",
    )

    def __init__(self) -> None:
        self.allow_absolute_url: bool = True
        self.accept_http_10: bool = False
        # Used by the connection manager.
        self.default_host_for_http_10: bytes = b""
        self.enable_trailers: bool = False
        # The connection manager's clients are the edge: what they call https must come over TLS.
        self.refuse_https_on_plaintext: bool = False
        self.allow_chunked_length: bool = False
        self.allow_custom_methods: bool = False
        self.stream_error_on_invalid_http_message: bool = False
        self.send_fully_qualified_url: bool = False
        self.header_format: int = FORMAT_NONE
        # With FORMAT_PRESERVE: names that the peer did not send are written in Proper-Case.
        self.proper_case_for_own: bool = False
        self.forward_reason_phrase: bool = False
        # Tokens of the Upgrade field that are taken out of requests.
        self.ignored_upgrades: list[StringMatcher] = []

    @staticmethod
    def from_view(view: View | None, stream_error: bool = False) -> Http1Settings:
        """From `Http1ProtocolOptions`, or the defaults for None. Raises ConfigError.

        `stream_error` is the connection manager's `stream_error_on_invalid_http_message`, which the options override.
        """
        settings = Http1Settings()
        settings.stream_error_on_invalid_http_message = stream_error
        if view is None:
            return settings
        settings.allow_absolute_url = view.flag("allow_absolute_url", True)
        settings.accept_http_10 = view.flag("accept_http_10")
        settings.default_host_for_http_10 = view.text("default_host_for_http_10").encode()
        settings.enable_trailers = view.flag("enable_trailers")
        settings.allow_chunked_length = view.flag("allow_chunked_length")
        settings.allow_custom_methods = view.flag("allow_custom_methods")
        settings.send_fully_qualified_url = view.flag("send_fully_qualified_url")
        settings.stream_error_on_invalid_http_message = view.flag(
            "override_stream_error_on_invalid_http_message", stream_error
        )
        # There is one parser here; Envoy documents the field as deprecated and without choice.
        view.accept("use_balsa_parser")
        settings.ignored_upgrades = [parse_string_matcher(each) for each in view.messages("ignore_http_11_upgrade")]
        key_format = view.message("header_key_format")
        if key_format is not None:
            settings._read_format(key_format)
        return settings

    def _read_format(self, view: View) -> None:
        if view.message("proper_case_words") is not None:
            self.header_format = FORMAT_PROPER
            return
        extension = view.message("stateful_formatter")
        if extension is None:
            return
        name = extension.text("name")
        config = extension.any("typed_config")
        if config.type_name != _PRESERVE_CASE:
            raise extension.error(
                f"Didn't find a registered implementation for '{name}' with type URL: '{config.type_name}'"
            )
        self.header_format = FORMAT_PRESERVE
        self.forward_reason_phrase = config.flag("forward_reason_phrase")
        self.proper_case_for_own = config.enum("formatter_type_on_envoy_headers") == "PROPER_CASE"


def underscore_action(view: View | None) -> int:
    """`headers_with_underscores_action` of a `HttpProtocolOptions`, as the codec wants it."""
    return UNDERSCORE_ALLOW if view is None else _UNDERSCORES[view.enum("headers_with_underscores_action")]


def headers_count(view: View | None) -> int:
    """`max_headers_count` of a `HttpProtocolOptions`."""
    return DEFAULT_MAX_HEADERS_COUNT if view is None else view.integer("max_headers_count", DEFAULT_MAX_HEADERS_COUNT)
