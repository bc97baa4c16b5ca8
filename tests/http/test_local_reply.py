"""Local replies. Expected responses were read off Envoy 1.40 with the same configuration."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.config.errors import ConfigError
from outrider.config.runtime import Runtime
from outrider.data.header_map import ResponseHeaderMap
from outrider.http.grpc_status import (
    encode_grpc_message,
    grpc_to_http_status,
    http_to_grpc_status,
    is_grpc_content_type,
)
from outrider.http.local_reply import LocalReplyConfig
from tests.access_log import scene
from tests.config.messages import view_of

CONFIG = "envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig"
Reply = tuple[int, list[tuple[bytes, bytes]], bytes]


class FakeContext:
    def __init__(self) -> None:
        self.runtime = Runtime()


def make(tree: dict[str, Any]) -> LocalReplyConfig:
    view = view_of(CONFIG, tree)
    config = LocalReplyConfig.from_view(view, FakeContext())  # type: ignore[arg-type]
    assert not view.unread()
    return config


def code(op: str, value: int) -> dict[str, Any]:
    return {"status_code_filter": {"comparison": {"op": op, "value": {"default_value": value, "runtime_key": "k"}}}}


def option(key: str, value: str, **more: Any) -> dict[str, Any]:
    return {"header": {"key": key, "value": value}, **more}


def reply(
    config: LocalReplyConfig, status: int, body: bytes = b"", details: str = "direct_response", **fields: bytes
) -> Reply:
    headers = ResponseHeaderMap({key.replace("_", "-").encode(): value for key, value in fields.items()}, status=status)
    context = scene.local_answer()
    context.response_headers = headers
    context.stream_info.response_code_details = details
    sent = config.apply(context, headers, body)
    assert context.stream_info.response_code == headers.status
    return headers.status, headers.items(), sent


def grpc_reply(
    config: LocalReplyConfig, status: int, body: bytes, grpc_status: int = -1, is_head: bool = False
) -> Reply:
    headers = ResponseHeaderMap(status=status)
    context = scene.local_answer()
    context.response_headers = headers
    config.apply_grpc(context, headers, body, grpc_status, is_head)
    return headers.status, headers.items(), b""


TEXT = (b"content-type", b"text/plain")
JSON = (b"content-type", b"application/json")


def length(number: int) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % number


def test_without_configuration() -> None:
    config = LocalReplyConfig.from_view(None, FakeContext())  # type: ignore[arg-type]
    assert reply(config, 503, b"no healthy upstream") == (503, [length(19), TEXT], b"no healthy upstream")
    assert reply(config, 404) == (404, [], b"")
    # A type that the route set stays.
    typed = reply(config, 403, b"x", content_type=b"my/type")
    assert typed == (403, [(b"content-type", b"my/type"), length(1)], b"x")
    # There is nothing that it could be the type of.
    assert reply(config, 403, b"", content_type=b"my/type", content_length=b"5") == (403, [], b"")


MAPPED = {
    "mappers": [
        {
            "filter": code("EQ", 404),
            "status_code": 444,
            "body": {"inline_string": "new body"},
            "headers_to_add": [option("x-m", "m-%RESPONSE_CODE%-%LOCAL_REPLY_BODY%-%RESP(x-m0)%")],
        },
        {
            "filter": code("GE", 400),
            "body_format_override": {
                "json_format": {"c": "%RESPONSE_CODE%", "b": "%LOCAL_REPLY_BODY%", "p": "%REQ(:path)%"}
            },
        },
    ],
    "body_format": {
        "text_format_source": {"inline_string": "BF %RESPONSE_CODE% %LOCAL_REPLY_BODY% %RESPONSE_CODE_DETAILS%"}
    },
}


def test_first_mapper_that_matches_then_the_format() -> None:
    config = make(MAPPED)
    answer = b'{"b":"dbody","c":418,"p":"/p"}\n'
    assert reply(config, 418, b"dbody") == (418, [length(31), JSON], answer)
    assert reply(config, 200) == (200, [length(23), TEXT], b"BF 200  direct_response")
    assert reply(config, 404, b"", "route_not_found") == (
        444,
        [(b"x-m", b"m-404--"), length(31), TEXT],
        b"BF 444 new body route_not_found",
    )
    assert reply(config, 301, b"", location=b"http://h/x") == (
        301,
        [(b"location", b"http://h/x"), length(23), TEXT],
        b"BF 301  direct_response",
    )


def test_type_of_a_changed_body() -> None:
    status, fields, body = reply(make(MAPPED), 403, b"x", content_type=b"my/type")
    assert status == 403
    assert fields == [JSON, length(27)]
    assert body == b'{"b":"x","c":403,"p":"/p"}\n'


def test_content_types() -> None:
    config = make(
        {
            "mappers": [
                {
                    "filter": code("EQ", 404),
                    "body_format_override": {
                        "text_format_source": {"inline_string": "<h1>%LOCAL_REPLY_BODY%</h1>"},
                        "content_type": "text/html; charset=UTF-8",
                    },
                },
                {
                    "filter": code("EQ", 403),
                    "headers_to_add": [option("content-type", "from/hdr")],
                    "body": {"inline_string": "zz"},
                },
            ]
        }
    )
    html = (b"content-type", b"text/html; charset=UTF-8")
    assert reply(config, 404) == (404, [length(9), html], b"<h1></h1>")
    joined = (b"content-type", b"my/type,from/hdr")
    assert reply(config, 403, b"x", content_type=b"my/type") == (403, [joined, length(2)], b"zz")
    assert reply(config, 418, b"dbody") == (418, [length(5), TEXT], b"dbody")


def test_empty_format_empties_the_body() -> None:
    config = make({"body_format": {"text_format_source": {"inline_string": ""}}})
    assert reply(config, 418, b"dbody") == (418, [], b"")


def test_status_only_and_headers() -> None:
    config = make(
        {
            "mappers": [
                {
                    "filter": code("GE", 300),
                    "status_code": 499,
                    "headers_to_add": [
                        option("x-a", "1"),
                        option("x-a", "2"),
                        option("location", "zz", append_action="OVERWRITE_IF_EXISTS_OR_ADD"),
                        option("content-length", "3"),
                        option("x-b", "%RESP(:status)%"),
                    ],
                },
                {"filter": code("GE", 0), "status_code": 299},
            ]
        }
    )
    status, fields, body = reply(config, 418, b"dbody")
    assert (status, body) == (499, b"dbody")
    assert sorted(fields) == sorted(
        [(b"location", b"zz"), (b"x-a", b"1"), (b"x-a", b"2"), length(5), (b"x-b", b"418"), TEXT]
    )
    assert reply(config, 200) == (299, [], b"")
    assert (b"location", b"zz") in reply(config, 301, b"", location=b"http://h/x")[1]


def test_json_without_mappers() -> None:
    config = make({"body_format": {"json_format": {"m": "%LOCAL_REPLY_BODY%", "s": "%RESPONSE_CODE%"}}})
    assert reply(config, 418, b"dbody") == (418, [length(22), JSON], b'{"m":"dbody","s":418}\n')
    assert reply(config, 404) == (404, [length(17), JSON], b'{"m":"","s":404}\n')


GRPC = (b"content-type", b"application/grpc")


def test_grpc_clients_get_the_rewritten_body_as_message() -> None:
    plain = LocalReplyConfig.from_view(None, FakeContext())  # type: ignore[arg-type]
    assert grpc_reply(plain, 503, b"no healthy upstream") == (
        200,
        [GRPC, (b"grpc-status", b"14"), (b"grpc-message", b"no healthy upstream")],
        b"",
    )
    assert grpc_reply(plain, 503, b"x", grpc_status=4, is_head=True) == (200, [GRPC, (b"grpc-status", b"4")], b"")
    assert grpc_reply(make(MAPPED), 418, b"dbody") == (
        200,
        [GRPC, (b"grpc-status", b"2"), (b"grpc-message", b'{"b":"dbody","c":418,"p":"/p"}')],
        b"",
    )
    # The rewritten code decides.
    config = make({"mappers": [{"filter": code("GE", 0), "status_code": 503}]})
    assert grpc_reply(config, 404, b"") == (200, [GRPC, (b"grpc-status", b"14")], b"")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"mappers": [{"status_code": 500}]}, "filter: value is required"),
        (
            {"mappers": [{"filter": code("GE", 0), "headers_to_add": [option("host", "x")]}]},
            ":-prefixed or host headers may not be modified",
        ),
        ({"body_format": {"text_format_source": {"inline_string": "%FOO%"}}}, "Not supported field in StreamInfo: FOO"),
        ({"mappers": [{"filter": code("GE", 0), "body": {"filename": "/nope"}}]}, "Invalid path: /nope"),
    ],
)
def test_refused(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(tree)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc;x=y", False),
        (b"application/grpc-web", False),
        (b"application/json", False),
        (None, False),
    ],
)
def test_grpc_content_types(content_type: bytes | None, expected: bool) -> None:
    assert is_grpc_content_type(content_type) is expected


def test_status_mappings() -> None:
    codes = (200, 400, 401, 403, 404, 429, 500, 502, 503, 504)
    assert [http_to_grpc_status(each) for each in codes] == [2, 13, 16, 7, 12, 14, 2, 14, 14, 14]
    assert [grpc_to_http_status(status) for status in range(18)] == [
        *(200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401, 500)
    ]


def test_grpc_messages() -> None:
    assert encode_grpc_message(b"plain text, ~!") == b"plain text, ~!"
    assert encode_grpc_message(b"50%\n\xc3\xa9") == b"50%25%0A%C3%A9"
