"""Http1ProtocolOptions."""

from __future__ import annotations

import pytest

from outrider.config.errors import ConfigError
from outrider.http.http1.settings import (
    FORMAT_NONE,
    FORMAT_PRESERVE,
    FORMAT_PROPER,
    Http1Settings,
    headers_count,
    underscore_action,
)
from outrider.native.parse_error import UNDERSCORE_ALLOW, UNDERSCORE_DROP, UNDERSCORE_REJECT
from tests.http.http1.smuggling_verdicts import view_of

HTTP1 = "envoy.config.core.v3.Http1ProtocolOptions"
COMMON = "envoy.config.core.v3.HttpProtocolOptions"
PRESERVE = "type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"


def test_defaults() -> None:
    for settings in (Http1Settings.from_view(None), Http1Settings.from_view(view_of(HTTP1, {}))):
        assert settings.allow_absolute_url
        assert not settings.accept_http_10
        assert not settings.enable_trailers
        assert settings.header_format == FORMAT_NONE
        assert not settings.stream_error_on_invalid_http_message


def test_every_field_is_read() -> None:
    view = view_of(
        HTTP1,
        {
            "allow_absolute_url": False,
            "accept_http_10": True,
            "default_host_for_http_10": "h",
            "header_key_format": {
                "stateful_formatter": {
                    "name": "preserve_case",
                    "typed_config": {
                        "@type": PRESERVE,
                        "forward_reason_phrase": True,
                        "formatter_type_on_envoy_headers": "PROPER_CASE",
                    },
                }
            },
            "enable_trailers": True,
            "allow_chunked_length": True,
            "override_stream_error_on_invalid_http_message": True,
            "send_fully_qualified_url": True,
            "use_balsa_parser": False,
            "allow_custom_methods": True,
            "ignore_http_11_upgrade": [{"prefix": "TLS/"}],
        },
    )
    settings = Http1Settings.from_view(view)
    assert view.unread() == []
    assert not settings.allow_absolute_url
    assert settings.default_host_for_http_10 == b"h"
    assert settings.header_format == FORMAT_PRESERVE
    assert settings.forward_reason_phrase and settings.proper_case_for_own
    assert settings.accept_http_10 and settings.enable_trailers and settings.allow_chunked_length
    assert settings.stream_error_on_invalid_http_message and settings.send_fully_qualified_url
    assert settings.allow_custom_methods
    assert settings.ignored_upgrades[0].matches(b"TLS/1.0")


def test_stream_error_overrides_the_connection_manager() -> None:
    key = "override_stream_error_on_invalid_http_message"
    assert Http1Settings.from_view(view_of(HTTP1, {}), True).stream_error_on_invalid_http_message
    assert not Http1Settings.from_view(view_of(HTTP1, {key: False}), True).stream_error_on_invalid_http_message


def test_key_formats() -> None:
    proper = view_of(HTTP1, {"header_key_format": {"proper_case_words": {}}})
    assert Http1Settings.from_view(proper).header_format == FORMAT_PROPER
    other = {"@type": "type.googleapis.com/envoy.config.core.v3.Address"}
    wrong = view_of(HTTP1, {"header_key_format": {"stateful_formatter": {"name": "x", "typed_config": other}}})
    with pytest.raises(ConfigError, match="Didn't find a registered implementation for 'x'"):
        Http1Settings.from_view(wrong)


def test_common_options() -> None:
    assert underscore_action(None) == UNDERSCORE_ALLOW
    for name, action in (("REJECT_REQUEST", UNDERSCORE_REJECT), ("DROP_HEADER", UNDERSCORE_DROP)):
        assert underscore_action(view_of(COMMON, {"headers_with_underscores_action": name})) == action
    assert headers_count(None) == 100
    assert headers_count(view_of(COMMON, {})) == 100
    assert headers_count(view_of(COMMON, {"max_headers_count": 7})) == 7
