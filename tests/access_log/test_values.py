"""What each command prints. Expected values were read off Envoy 1.40 in the same situations."""

from __future__ import annotations

import pytest

from outrider.access_log.context import FormatContext
from outrider.access_log.formatter import parse_format
from outrider.data import response_flag
from outrider.data.address import Address, ip_address, pipe_address
from outrider.data.filter_state import FilterStateObject, StringState
from outrider.data.header_map import HeaderMap, ResponseHeaderMap

from . import scene


def text(form: str, context: FormatContext) -> str:
    return parse_format(form).format_bytes(context).decode("latin-1")


def value(form: str, context: FormatContext) -> object:
    return parse_format(form).ops[0].value(context)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("%ACCESS_LOG_TYPE%", "DownstreamEnd"),
        ("%BYTES_RECEIVED%", "4"),
        ("%BYTES_SENT%", "180"),
        ("%CONNECTION_ID%", "7"),
        ("%CONNECTION_TERMINATION_DETAILS%", "-"),
        ("%CUSTOM_FLAGS%", ""),
        ("%DOWNSTREAM_DETECTED_CLOSE_TYPE%", "Normal"),
        ("%DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID%", ""),
        ("%DOWNSTREAM_LOCAL_ADDRESS%", "127.0.0.1:10000"),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", "10.1.2.3:43948"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.1.2.3"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(16)%", "10.1.0.0/16"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(0)%", "0.0.0.0/0"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(129)%", "10.1.2.3/32"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(-1)%", ""),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(abc)%", "10.1.2.3"),
        ("%DOWNSTREAM_REMOTE_PORT%", "43948"),
        ("%DOWNSTREAM_TLS_VERSION%", "-"),
        ("%DURATION%", "2"),
        ("%FILTER_CHAIN_NAME%", "-"),
        ("%GRPC_STATUS%", "-"),
        ("%LOCAL_REPLY_BODY%", ""),
        ("%PATH%", "/p"),
        ("%PROTOCOL%", "HTTP/1.1"),
        ("%REQUEST_DURATION%", "0"),
        ("%REQUEST_HEADERS_BYTES%", "110"),
        ("%REQUEST_TX_DURATION%", "0"),
        ("%REQ(:SCHEME)%", "http"),
        ("%REQ(host)%", "h.com:80"),
        ("%RESPONSE_CODE%", "200"),
        ("%RESPONSE_CODE_DETAILS%", "via_upstream"),
        ("%RESPONSE_DURATION%", "1"),
        ("%RESPONSE_FLAGS%", "-"),
        ("%RESPONSE_HEADERS_BYTES%", "73"),
        ("%RESPONSE_TX_DURATION%", "0"),
        ("%RESP(:status)%", "200"),
        ("%RESP(x-resp)%", "r1"),
        ("%ROUNDTRIP_DURATION%", "-"),
        ("%ROUTE_NAME%", "rn"),
        ("%STREAM_ID%", "8275d158-2e1c-47e9-96c3-cf798f8f24a9"),
        ("%UPSTREAM_CLUSTER%", "alt"),
        ("%UPSTREAM_CLUSTER_RAW%", "up"),
        ("%UPSTREAM_CONNECTION_ID%", "3"),
        ("%UPSTREAM_CONNECTION_IDS_ATTEMPTED%", "3"),
        ("%UPSTREAM_CONNECTION_POOL_READY_DURATION%", "0"),
        ("%UPSTREAM_DETECTED_CLOSE_TYPE%", "Normal"),
        ("%UPSTREAM_HEADER_BYTES_SENT%", "150"),
        ("%UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED%", "106"),
        ("%UPSTREAM_HOST%", "127.0.0.1:46189"),
        ("%UPSTREAM_HOST_NAME%", "my.host:99"),
        ("%UPSTREAM_HOST_NAME_WITHOUT_PORT%", "my.host"),
        ("%UPSTREAM_HOSTS_ATTEMPTED%", "127.0.0.1:46189"),
        ("%UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT%", "127.0.0.1"),
        ("%UPSTREAM_HOST_NAMES_ATTEMPTED%", "my.host:99"),
        ("%UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT%", "my.host"),
        ("%UPSTREAM_LOCAL_ADDRESS%", "127.0.0.1:52668"),
        ("%UPSTREAM_LOCAL_PORT%", "52668"),
        ("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)%", "127.0.0.0/8"),
        ("%UPSTREAM_PROTOCOL%", "HTTP/1.1"),
        ("%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "1"),
        ("%UPSTREAM_TRANSPORT_FAILURE_REASON%", "-"),
        ("%UPSTREAM_WIRE_BYTES_RECEIVED%", "309"),
        ("%VIRTUAL_CLUSTER_NAME%", "-"),
        ("%COMMON_DURATION(DS_RX_BEG:US_TX_END)%", "0"),
        ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%", "2060"),
        ("%COMMON_DURATION(DS_TX_END:DS_RX_BEG:ns)%", "-"),
        ("%COMMON_DURATION(US_CX_BEG:US_CX_END:us)%", "76"),
        ("%COMMON_DURATION(US_CX_BEG:US_HS_END:us)%", "-"),
        ("%COMMON_DURATION(DS_RX_BEG:US_RX_BODY_BEG:us)%", "2007"),
        ("%COMMON_DURATION(DS_RX_BEG:US_RX_END:us)%", "2013"),
        ("%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:ns)%", "1905000"),
        ("%COMMON_DURATION(DS_RX_BEG:DS_RX_HDR_END:us)%", "77"),
        ("%COMMON_DURATION(DS_RX_BEG:DS_RX_END:us)%", "79"),
        ("%COMMON_DURATION(DS_RX_BEG:DS_TX_BEG:us)%", "1997"),
        ("%COMMON_DURATION(x:y:us)%", "-"),
    ],
)
def test_proxied_request(form: str, expected: str) -> None:
    assert text(form, scene.proxied()) == expected


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("%UPSTREAM_HOST%", "-"),
        ("%UPSTREAM_CLUSTER%", "-"),
        ("%UPSTREAM_CONNECTION_ID%", "0"),
        ("%UPSTREAM_WIRE_BYTES_SENT%", "0"),
        ("%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "0"),
        ("%UPSTREAM_DETECTED_CLOSE_TYPE%", "-"),
        ("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)%", "-"),
        ("%UPSTREAM_REMOTE_PORT%", "-"),
        ("%RESPONSE_DURATION%", "-"),
        ("%ROUTE_NAME%", "-"),
        ("%QUERY_PARAMS%", "-"),
    ],
)
def test_request_without_upstream(form: str, expected: str) -> None:
    assert text(form, scene.local_answer()) == expected


def test_numbers_stay_numbers_in_json() -> None:
    context = scene.proxied()
    assert value("%DURATION%", context) == 2
    assert value("%UPSTREAM_REMOTE_PORT%", context) == 46189
    assert value("%ROUNDTRIP_DURATION%", context) is None
    assert value("%PROTOCOL%", context) == b"HTTP/1.1"


@pytest.mark.parametrize("with_lists", [True, False])
def test_attempts(with_lists: bool) -> None:
    context = scene.proxied()
    upstream = context.stream_info.upstream
    assert upstream is not None
    if with_lists:
        upstream.attempted_hosts = [scene.FakeHost(ip_address("1.2.3.4", 5)), scene.FakeHost(ip_address("::1", 6), "n")]
        upstream.attempted_connection_ids = [8, 9]
        assert text("%UPSTREAM_HOSTS_ATTEMPTED%", context) == "1.2.3.4:5,[::1]:6"
        assert text("%UPSTREAM_HOST_NAMES_ATTEMPTED%", context) == "1.2.3.4:5,n"
        assert text("%UPSTREAM_CONNECTION_IDS_ATTEMPTED%", context) == "8,9"
    else:
        upstream.attempted_hosts = None
        upstream.attempted_connection_ids = None
        assert text("%UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT%", context) == "127.0.0.1"
        assert text("%UPSTREAM_HOST_NAMES_ATTEMPTED%", context) == "my.host:99"
        assert text("%UPSTREAM_CONNECTION_IDS_ATTEMPTED%", context) == "3"


def test_host_chosen_but_connection_failed() -> None:
    context = scene.proxied()
    upstream = context.stream_info.upstream
    assert upstream is not None
    upstream.attempted_hosts = None
    upstream.attempted_connection_ids = None
    upstream.connection_id = 0
    assert text("%UPSTREAM_CONNECTION_IDS_ATTEMPTED% %UPSTREAM_HOST_NAMES_ATTEMPTED%", context) == "- -"
    upstream.transport_failure_reason = "delayed connect error: Connection refused"
    assert text("%UPSTREAM_HOSTS_ATTEMPTED%", context) == "-"
    assert text("%UPSTREAM_TRANSPORT_FAILURE_REASON%", context) == "delayed_connect_error:_Connection_refused"


def test_host_without_name_prints_its_address() -> None:
    context = scene.proxied()
    context.stream_info.upstream = scene.upstream(scene.FakeHost(ip_address("::1", 80)))
    assert text("%UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT%", context) == "[::1]:80 ::1"
    assert text("%UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT%", context) == "::1"
    assert text("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(64)%", context) == "::/64"


def test_addresses_without_port() -> None:
    context = scene.proxied()
    context.stream_info.connection.remote_address = pipe_address("/run/x.sock")
    assert text("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_PORT%", context) == "/run/x.sock -"
    context.stream_info.connection.local_address = Address(2, "name/id5", 0)
    assert text("%DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID%", context) == "id5"


def test_reasons_are_one_word() -> None:
    context = scene.proxied()
    context.stream_info.response_code_details = "a b\tc"
    assert text("%RESPONSE_CODE_DETAILS%", context) == "a_b_c"
    assert text("%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", context) == "a b\tc"
    assert text("%RESPONSE_CODE_DETAILS(FOO)%", context) == "a_b_c"


def test_response_flags_in_envoys_order() -> None:
    context = scene.proxied()
    context.stream_info.response_flags = (
        response_flag.UPSTREAM_CONNECTION_FAILURE
        | response_flag.UPSTREAM_RETRY_LIMIT_EXCEEDED
        | response_flag.DELAY_INJECTED
    )
    assert text("%RESPONSE_FLAGS%", context) == "DI,URX,UF"
    assert (
        text("%RESPONSE_FLAGS_LONG%", context) == "DelayInjected,UpstreamRetryLimitExceeded,UpstreamConnectionFailure"
    )


HEADERS = scene.request_headers(
    b"/new/x?a=1%202&a=3&b=x+y&d%20e=f&empty=&g",
    (b"x-multi", b"m1"),
    (b"x-multi", b"m2"),
    (b"x-empty", b""),
    (b"x-utf8", b"\xc3\xa9x"),
    (b"x-envoy-original-path", b"/p/x?a=1"),
    (
        b"x-forwarded-client-cert",
        b'By=spiffe://a;Hash=abc;Subject="CN=x,O=\\"y\\"";URI=spiffe://b;DNS=d1;DNS=d2,By=z;URI=second',
    ),
)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("%REQ(x-multi)%", "m1"),
        ("%REQ(x-nope?x-multi):2%", "m1"),
        ("%REQ(x-empty)%", ""),
        ("%REQ(x-empty?x-multi)%", ""),
        ("%REQ(?x-multi)%", "m1"),
        ("%REQ(x-multi):0%", ""),
        ("%REQ(x-utf8):1%", "\u00c3"),
        ("%REQUEST_HEADER(X-MULTI)%", "m1"),
        ("%STREAM_INFO_REQ(:path):4%", "/new"),
        ("%PATH%", "/p/x?a=1"),
        ("%PATH(NQ)%", "/p/x"),
        ("%PATH(WQ:ORIG)%", "/p/x?a=1"),
        ("%PATH(NQ:PATH)%", "/new/x"),
        ("%PATH(:ORIG)%", "/p/x?a=1"),
        ("%PATH:4%", "/p/x"),
        ("%QUERY_PARAM(a)%", "1 2"),
        ("%QUERY_PARAM(A)%", "-"),
        ("%QUERY_PARAM(b)%", "x+y"),
        ("%QUERY_PARAM(d e)%", "f"),
        ("%QUERY_PARAM(empty)%", ""),
        ("%QUERY_PARAM(g)%", ""),
        ("%QUERY_PARAM(a):1%", "1"),
        ("%QUERY_PARAMS%", "a=1%202&a=3&b=x+y&d%20e=f&empty=&g"),
        ("%QUERY_PARAMS(DECODED):6%", "a=1%20"),
        ("%REQUESTED_SERVER_NAME%", "-"),
        ("%REQUESTED_SERVER_NAME(SNI_FIRST)%", "h.com:80"),
        ("%REQUESTED_SERVER_NAME(SNI_FIRST:ORIG)%", "-"),
        ("%XFCC_VALUE(uri)%", "spiffe://b"),
        ("%XFCC_VALUE(dns)%", "d1"),
        ("%XFCC_VALUE(BY)%", "spiffe://a"),
        ("%XFCC_VALUE(Subject)%", 'CN=x,O="y"'),
        ("%XFCC_VALUE(cert)%", "-"),
        ("%XFCC_VALUE(URI):3%", "spiffe://b"),
        ('%COALESCE({"operators":[{"command":"REQ","param":"nope"},"PROTOCOL"]}):4%', "HTTP"),
        ('%COALESCE({"operators":[{"command":"REQ","param":"x-empty"},"PROTOCOL"]})%', ""),
        ('%COALESCE({"operators":["UPSTREAM_TLS_VERSION","UPSTREAM_TLS_CIPHER"]})%', "-"),
        ('%COALESCE({"operators":[{"command":"REQ","param":"x-multi","max_length":1}]})%', "m"),
    ],
)
def test_parts_of_the_request(form: str, expected: str) -> None:
    context = scene.proxied()
    context.request_headers = HEADERS
    assert text(form, context) == expected


def test_coalesce_keeps_types() -> None:
    form = '%COALESCE({"operators":["UPSTREAM_TLS_VERSION","DURATION"]})%'
    assert value(form, scene.proxied()) == 2


@pytest.mark.parametrize(
    ("query", "decoded"),
    [
        (b"a=%41b%2Bc%26d+e%25", "a=Ab+c&d+e%"),
        (b"a=%c3%a9%ff%00", "a=%c3%a9%ff%00"),
        (b"a=b?c=d&a=%4", "a=b?c=d&a=%4"),
        (b"a=%%41%zz&b=%", "a=Azz&b=%"),
        (b"a=%2x", "a=2x"),
        (b"", ""),
    ],
)
def test_decoded_query(query: bytes, decoded: str) -> None:
    context = scene.proxied()
    context.request_headers = scene.request_headers(b"/p?" + query)
    assert text("%QUERY_PARAMS(DECODED)%", context) == decoded
    assert text("%QUERY_PARAMS(ORIG)%", context) == query.decode()


def test_requested_server_name_with_sni_and_rewritten_host() -> None:
    context = scene.proxied()
    context.stream_info.connection.requested_server_name = "sni.com"
    context.request_headers = scene.request_headers(b"/", (b"x-envoy-original-host", b"orig"))
    assert text("%REQUESTED_SERVER_NAME%", context) == "sni.com"
    assert text("%REQUESTED_SERVER_NAME(HOST_FIRST)%", context) == "orig"
    assert text("%REQUESTED_SERVER_NAME(HOST_FIRST:HOST)%", context) == "h.com:80"
    assert text("%REQUESTED_SERVER_NAME(SNI_FIRST:HOST)%", context) == "sni.com"


METADATA: dict[str, object] = {
    "rm": {
        "k": "value",
        "n": 5.0,
        "f": 1.5,
        "b": True,
        "l": [1.0, "a", None, {"z": 1.5, "a": False}],
        "o": {"p": {"q": "deep"}, "a": 1.0},
        "null": None,
        "q": 'a"b\\c\n\u00e9',
    }
}


@pytest.mark.parametrize(
    ("path", "printed", "typed"),
    [
        ("rm:k", "value", b"value"),
        ("rm:k:sub", "-", None),
        ("rm:n", "5", 5.0),
        ("rm:f", "1.5", 1.5),
        ("rm:b", "true", True),
        ("rm:l", '[1,"a",null,{"a":false,"z":1.5}]', [1.0, "a", None, {"z": 1.5, "a": False}]),
        ("rm:o", '{"a":1,"p":{"q":"deep"}}', {"p": {"q": "deep"}, "a": 1.0}),
        ("rm:o:p:q", "deep", b"deep"),
        ("rm:null", "-", None),
        ("rm:nope", "-", None),
        ("", "-", None),
        ("nope", "-", None),
        ('["rm","k"]', "-", None),
    ],
)
def test_metadata(path: str, printed: str, typed: object) -> None:
    context = scene.proxied()
    context.stream_info.route = scene.FakeOwner(METADATA)
    form = f"%METADATA(ROUTE:{path})%"
    assert text(form, context) == printed
    assert value(form, context) == typed


def test_metadata_sources_and_lengths() -> None:
    context = scene.proxied()
    info = context.stream_info
    one: dict[str, object] = {"ns": {"k": "dynamic"}}
    info.metadata = {"ns": {"k": "dynamic", "o": {"p": "q"}}}
    info.cluster = scene.FakeCluster("c", metadata={"ns": {"k": "cluster"}})
    info.upstream = scene.upstream(scene.FakeHost(ip_address("1.2.3.4", 5), metadata={"ns": {"k": "host"}}))
    info.route = scene.FakeOwner(one, scene.FakeOwner({"ns": {"k": "vhost"}}))
    info.connection.listener_info = scene.FakeOwner({"ns": {"k": "listener"}})
    info.connection.filter_chain_info = scene.FakeOwner({"ns": {"k": "chain"}})
    assert text("%DYNAMIC_METADATA(ns:k)% %METADATA(DYNAMIC:ns:k):3%", context) == "dynamic dyn"
    assert text("%CLUSTER_METADATA(ns:k)% %METADATA(CLUSTER:ns:k)%", context) == "cluster cluster"
    assert text("%UPSTREAM_METADATA(ns:k)% %METADATA(UPSTREAM_HOST:ns:k)%", context) == "host host"
    assert text("%METADATA(VIRTUAL_HOST:ns:k)% %METADATA(LISTENER:ns:k)%", context) == "vhost listener"
    assert text("%METADATA(LISTENER_FILTER_CHAIN:ns:k)%", context) == "chain"
    assert text("%DYNAMIC_METADATA(ns:o):6%", context) == '{"p":"'
    assert value("%DYNAMIC_METADATA(ns:o):6%", context) == {"p": "q"}


class PlainOnly(FilterStateObject):
    def serialize(self) -> str | None:
        return "plain"

    def field(self, name: str) -> object:
        return 5 if name == "five" else None


def test_filter_state() -> None:
    context = scene.proxied()
    info = context.stream_info
    info.filter_state = {"str": StringState('va"l1'), "plain": PlainOnly()}
    info.connection.filter_state = {"conn": StringState("c")}
    assert info.upstream is not None
    info.upstream.filter_state = {"up": StringState("u")}
    assert text("%FILTER_STATE(str)%", context) == '"va\\"l1"'
    assert text("%FILTER_STATE(str:PLAIN)%", context) == 'va"l1'
    assert text("%FILTER_STATE(str:PLAIN):3%", context) == 'va"'
    assert text("%FILTER_STATE(str):3%", context) == '"va'
    assert value("%FILTER_STATE(str):3%", context) == 'va"l1'
    assert text("%FILTER_STATE(plain)% %FILTER_STATE(plain:PLAIN)%", context) == "- plain"
    assert text("%FILTER_STATE(plain:FIELD:five)% %FILTER_STATE(plain:FIELD:six)%", context) == "5 -"
    assert text("%FILTER_STATE(conn:PLAIN)% %FILTER_STATE(nope)%", context) == "c -"
    assert text("%UPSTREAM_FILTER_STATE(up:PLAIN)%", context) == "u"


@pytest.mark.parametrize(
    ("status", "camel", "snake", "number"),
    [
        (b"0", "OK", "OK", 0),
        (b"1", "Canceled", "CANCELLED", 1),
        (b"3", "InvalidArgument", "INVALID_ARGUMENT", 3),
        (b"16", "Unauthenticated", "UNAUTHENTICATED", 16),
        (b"17", "17", "17", 17),
        (b"99", "99", "99", 99),
        (b"abc", "-1", "-1", -1),
        (b"-1", "-1", "-1", -1),
        (None, "Unknown", "UNKNOWN", 2),
    ],
)
def test_grpc_status(status: bytes | None, camel: str, snake: str, number: int) -> None:
    context = scene.proxied()
    context.request_headers = scene.request_headers(b"/", (b"content-type", b"application/grpc+proto"))
    context.response_headers = ResponseHeaderMap({} if status is None else {b"grpc-status": status}, status=200)
    assert text("%GRPC_STATUS%", context) == camel
    assert text("%GRPC_STATUS(CAMEL_STRING)%", context) == camel
    assert text("%GRPC_STATUS(SNAKE_STRING)%", context) == snake
    assert value("%GRPC_STATUS(NUMBER)%", context) == number
    assert value("%GRPC_STATUS_NUMBER%", context) == number


def test_grpc_status_of_trailers_wins_and_needs_a_grpc_request() -> None:
    context = scene.proxied()
    context.response_trailers = HeaderMap({b"grpc-status": b"5", b"x": b"trailer"})
    assert text("%GRPC_STATUS% %TRAILER(X):3% %RESPONSE_TRAILERS_BYTES%", context) == "- tra 20"
    context.request_headers = scene.request_headers(b"/", (b"content-type", b"application/grpc-web"))
    assert text("%GRPC_STATUS%", context) == "-"
    context.request_headers = scene.request_headers(b"/", (b"content-type", b"application/grpc"))
    assert text("%GRPC_STATUS%", context) == "NotFound"


def test_times_of_the_connection() -> None:
    context = scene.proxied()
    connection = context.stream_info.connection
    connection.start_mono_ns = scene.START_MONO_NS - 3 * scene.MS
    connection.handshake_start_ns = scene.START_MONO_NS - 2 * scene.MS
    connection.handshake_end_ns = scene.START_MONO_NS - scene.MS
    assert text("%COMMON_DURATION(DS_HS_BEG:DS_HS_END:us)%", context) == "1000"
    assert text("%COMMON_DURATION(DS_CX_BEG:DS_HS_END)%", context) == "2"
    assert text("%COMMON_DURATION(DS_RX_BEG:DS_HS_END:us)%", context) == "-"
    # Envoy measures from the beginning of the stream.
    assert text("%DOWNSTREAM_HANDSHAKE_DURATION%", context) == "-1"
    context.stream_info.time_points = {"mine": scene.START_MONO_NS + 5000}
    assert text("%COMMON_DURATION(DS_RX_BEG:mine:us)%", context) == "5"


def test_stream_id_is_the_request_id_unless_there_is_another() -> None:
    context = scene.proxied()
    context.stream_info.stream_id = ""
    assert text("%STREAM_ID%", context) == "8275d158-2e1c-47e9-96c3-cf798f8f24a9"
    context.stream_info.stream_id = "session"
    assert text("%STREAM_ID%", context) == "session"
    assert text("%STREAM_ID%", scene.tcp_session()) == "-"


def test_unique_ids_differ() -> None:
    first, second = text("%UNIQUE_ID% %UNIQUE_ID%", scene.proxied()).split()
    assert len(first) == 36
    assert first != second


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOENV", "foobar")
    monkeypatch.setenv("EMPTYENV", "")
    monkeypatch.delenv("NOPE", raising=False)
    context = scene.proxied()
    assert text("%ENVIRONMENT(FOOENV)% %ENVIRONMENT(FOOENV):3%", context) == "foobar foo"
    assert text("%ENVIRONMENT(EMPTYENV)%|%ENVIRONMENT(NOPE)%", context) == "|-"
