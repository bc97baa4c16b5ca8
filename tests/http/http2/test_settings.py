"""Http2ProtocolOptions: defaults, what is refused, the first SETTINGS frame."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.view import View
from outrider.http.http2.settings import Http2Settings
from outrider.native import load_http2

pytestmark = pytest.mark.skipif(not load_http2.AVAILABLE, reason="libnghttp2 was not there when this was built")


def view(**fields: Any) -> View:
    message = api.message_class("envoy.config.core.v3.Http2ProtocolOptions")()
    json_format.ParseDict(fields, message)
    return View(message, "options")


def test_first_settings() -> None:
    settings = Http2Settings.from_view(view(allow_connect=True, max_concurrent_streams=5))
    assert settings.entries(True) == [(1, 4096), (8, 1), (3, 5), (4, 1 << 24)]
    assert settings.entries(False)[0] == (2, 0)


def test_stream_error() -> None:
    assert not Http2Settings.from_view(None).stream_error
    assert Http2Settings.from_view(None, True).stream_error
    assert Http2Settings.from_view(view(stream_error_on_invalid_http_messaging=True)).stream_error
    assert not Http2Settings.from_view(view(stream_error_on_invalid_http_messaging=True), False).stream_error
    assert not Http2Settings.from_view(view(override_stream_error_on_invalid_http_message=False), True).stream_error


@pytest.mark.parametrize(
    ("parameter", "named", "text"),
    [
        ({"identifier": 2, "value": 1}, {}, "server push"),
        ({"identifier": 8, "value": 1}, {}, "allow_connect"),
        ({"identifier": 3, "value": 1}, {"max_concurrent_streams": 2}, "both named and custom"),
    ],
)
def test_custom_settings_refused(parameter: dict[str, int], named: dict[str, int], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Http2Settings.from_view(view(custom_settings_parameters=[parameter], **named))


def test_custom_settings() -> None:
    settings = Http2Settings.from_view(
        view(custom_settings_parameters=[{"identifier": 10, "value": 7}, {"identifier": 3, "value": 9}])
    )
    assert settings.entries(True)[0] == (10, 7)
    assert settings.max_concurrent_streams == 9


def test_keepalive() -> None:
    settings = Http2Settings.from_view(view(connection_keepalive={"interval": "2s", "timeout": "1s"}))
    assert (settings.keepalive_interval_ms, settings.keepalive_timeout_ms, settings.keepalive_jitter) == (2000, 1000, 15)


def test_what_is_not_honoured_stays_unread() -> None:
    given = view(allow_metadata=True, use_oghttp2_codec=False, hpack_table_size=0)
    assert Http2Settings.from_view(given).hpack_table_size == 0
    unread = given.unread()
    assert "options.allow_metadata" in unread
    assert "options.hpack_table_size" not in unread


def test_other_codec_is_refused() -> None:
    with pytest.raises(ConfigError, match="oghttp2"):
        Http2Settings.from_view(view(use_oghttp2_codec=True))
