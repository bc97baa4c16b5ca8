"""envoy.filters.http.lua: what scripts can do. Traffic is compared with Envoy in tests/parity."""

from __future__ import annotations

import base64
import logging
import weakref

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from outrider.config.errors import ConfigError
from outrider.data.filter_state import StringState
from outrider.data.header_map import HeaderMap, ResponseHeaderMap
from outrider.extensions.filters.http import lua
from tests.extensions.filters.http.scene import Scene, Stream, request_headers

assert lua
TYPE = "envoy.extensions.filters.http.lua.v3.Lua"
ROUTE = "envoy.extensions.filters.http.lua.v3.LuaPerRoute"


def scene(code: str, **more: object) -> Scene:
    return Scene("lua", TYPE, {"default_source_code": {"inline_string": code}, **more})


def request(code: str) -> str:
    return f"function envoy_on_request(h)\n{code}\nend"


def response(code: str) -> str:
    return f"function envoy_on_response(h)\n{code}\nend"


def run(code: str, *fields: tuple[str, str], end: bool = True) -> Stream:
    return scene(request(code)).stream(request_headers(*fields), end=end)


def header(stream: Stream, name: str) -> bytes | None:
    assert stream.request_headers is not None
    return stream.request_headers.get(name.encode())


def test_headers() -> None:
    stream = run(
        """
        local headers = h:headers()
        headers:add("x-a", "2")
        headers:replace("x-b", 7)
        headers:remove("x-c")
        headers:add("x-seen", headers:get("X-A") .. "|" .. tostring(headers:get("x-none")) .. "|" .. headers:get(":path"))
        headers:add("x-index", headers:getAtIndex("x-a", 1) .. headers:getNumValues("x-a"))
        local names = {}
        for name, value in pairs(headers) do names[#names + 1] = name .. "=" .. value end
        headers:add("x-names", table.concat(names, " "))
        """,
        ("x-a", "1"),
        ("x-b", "1"),
        ("x-c", "1"),
    )
    assert stream.passed
    assert header(stream, "x-b") == b"7"
    assert header(stream, "x-c") is None
    assert header(stream, "x-seen") == b"1,2|nil|/"
    assert header(stream, "x-index") == b"22"
    names = header(stream, "x-names")
    assert names is not None and b":authority=test" in names and b"x-a=1 x-a=2" in names
    assert stream.route_cleared


def test_headers_cannot_be_changed_while_they_are_walked() -> None:
    stream = run('for name in pairs(h:headers()) do h:headers():add("x-a", "1") end h:headers():add("x-b", "1")')
    assert header(stream, "x-a") is None and header(stream, "x-b") is None


def test_no_line_ends_in_fields() -> None:
    stream = run('h:headers():add("x-a", "1\\r\\nx-b: 2")')
    assert header(stream, "x-a") is None


def test_errors_are_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "outrider.lua"):
        made = scene(request("local x = nil\nx.y = 1"))
        assert made.stream(request_headers()).passed
    assert made.counter("lua.errors") == 1
    assert made.counter("lua.executions") == 1
    assert "script log:" in caplog.text and ":3: attempt to index local 'x' (a nil value)" in caplog.text


def test_faults_of_calls_have_the_place_of_the_call(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "outrider.lua"):
        run("\nh:headers():add('a')")
        run("\nh:respond({[':status'] = '99'})")
        run("\nlocal ok, text = pcall(h.respond, h, {}) h:logErr('caught ' .. text)")
    assert ":3: bad argument" in caplog.text
    assert ":3: :status must be between 200-599" in caplog.text
    assert "caught " in caplog.text and "status must be" in caplog.text


def test_objects_end_with_the_script() -> None:
    made = scene("""
    local kept
    function envoy_on_request(h)
      if kept then h:headers():add("x-kept", tostring(pcall(kept.headers, kept))) end
      kept = h
    end
    """)
    made.stream(request_headers())
    stream = made.stream(request_headers())
    assert header(stream, "x-kept") == b"false"


def test_objects_end_with_a_wait() -> None:
    made = scene(request("local a = h:headers() h:body() h:headers():add('x-new', '1') a:add('x-old', '1')"))
    stream = made.stream(request_headers(), end=False)
    stream.remote_complete = True
    stream.run_decode_data(0, b"abc", True)
    assert header(stream, "x-new") == b"1" and header(stream, "x-old") is None
    assert made.counter("lua.errors") == 1


def test_whole_body() -> None:
    stream = run("local body = h:body() h:headers():add('x-length', body:length() .. body:getBytes(1, 3))", end=False)
    assert not stream.passed
    stream.run_decode_data(0, b"hello", False)
    assert not stream.passed
    stream.remote_complete = True
    stream.run_decode_data(0, b" world", True)
    assert stream.passed
    assert header(stream, "x-length") == b"11ell"


def test_body_of_a_request_without() -> None:
    stream = run("h:headers():add('x-body', tostring(h:body()) .. h:body(true):length())")
    assert header(stream, "x-body") == b"nil0"


def test_respond() -> None:
    stream = run("h:respond({[':status'] = 403, ['x-a'] = {'1', '2'}}, 'no') h:headers():add('x-late', '1')")
    assert stream.out == ["reply 403 no"]
    assert stream.details == "lua_response"
    assert stream.reply is not None and stream.reply.get_all(b"x-a") == [b"1", b"2"]
    assert header(stream, "x-late") is None


def test_response_chunks_and_trailers() -> None:
    made = scene(
        response("""
        local size = 0
        for chunk in h:bodyChunks() do
          size = size + chunk:length()
          chunk:setBytes("[" .. chunk:getBytes(0, chunk:length()) .. "]")
        end
        local trailers = h:trailers()
        if trailers then trailers:add("x-size", size) end
        """)
    )
    stream = made.stream(request_headers())
    stream.encode_headers_from(None, ResponseHeaderMap(status=200), False)
    stream.encode_data_from(None, b"ab", False)
    stream.encode_data_from(None, b"c", False)
    trailers = HeaderMap()
    stream.encode_trailers_from(None, trailers)
    assert stream.out == ["headers 200", "data [ab]", "data [c]", "trailers", "sent"]
    assert trailers.get(b"x-size") == b"3"
    assert made.counter("lua.errors") == 0


def test_response_body_replaced() -> None:
    made = scene(response("h:body():setBytes('new') h:headers():replace('x-a', '1')"))
    stream = made.stream(request_headers())
    headers = ResponseHeaderMap(status=200)
    stream.encode_headers_from(None, headers, False)
    stream.encode_data_from(None, b"old ", False)
    stream.encode_data_from(None, b"content", True)
    assert stream.out == ["headers 200", "data new!", "sent"]
    assert headers.get(b"content-length") == b"3"


def test_reason_phrase_in_responses_only() -> None:
    phrase = "h:headers():setHttp1ReasonPhrase('Fine')"
    made = scene(request(phrase) + "\n" + response(phrase))
    stream = made.stream(request_headers())
    headers = ResponseHeaderMap(status=200)
    stream.encode_headers_from(None, headers, True)
    assert headers.case == {b":reason": b"Fine"}
    assert made.counter("lua.errors") == 1


def test_dynamic_metadata_and_filter_state() -> None:
    stream = run("""
    local info = h:streamInfo()
    info:dynamicMetadata():set("ns", "key", {a = 1, list = {"x", true}, deep = {b = "c"}})
    local found = info:dynamicMetadata():get("ns").key
    local names = ""
    for name, value in pairs(info:dynamicMetadata()) do names = names .. name .. type(value) end
    h:headers():add("x-found", found.a .. found.list[1] .. tostring(found.list[2]) .. found.deep.b .. names)
    info:filterState():set("my.key", "envoy.string", "value")
    h:headers():add("x-state", info:filterState():get("my.key") .. tostring(info:filterState():get("none")))
    h:headers():add("x-facts", info:protocol() .. " " .. info:downstreamRemoteAddress() .. info:routeName())
    """)
    assert stream.stream_info.metadata == {"ns": {"key": {"a": 1.0, "list": ["x", True], "deep": {"b": "c"}}}}
    assert header(stream, "x-found") == b"1xtruecnstable"
    state = (stream.stream_info.filter_state or {})["my.key"]
    assert isinstance(state, StringState) and state.text == "value"
    assert header(stream, "x-state") == b"valuenil"
    assert header(stream, "x-facts") == b"HTTP/1.1 10.1.2.3:4000"


def test_connection_without_tls() -> None:
    stream = run("h:headers():add('x', tostring(h:connection():ssl()) .. tostring(h:streamInfo():downstreamSslConnection()))")
    assert header(stream, "x") == b"nilnil"


def test_signatures() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    signature = key.sign(b"hello", padding.PKCS1v15(), hashes.SHA256())
    stream = run(f"""
    local der = h:base64Decode("{base64.b64encode(der).decode()}")
    local signature = h:base64Decode("{base64.b64encode(signature).decode()}")
    local key = h:importPublicKey(der, #der):get()
    local good, none = h:verifySignature("sha256", key, signature, #signature, "hello", 5)
    local bad, why = h:verifySignature("sha256", key, signature, #signature, "hellO", 5)
    local unknown, what = h:verifySignature("md1", key, signature, #signature, "hello", 5)
    h:headers():add("x", table.concat({{tostring(good), tostring(none), tostring(bad), why, what}}, "|"))
    """)
    assert header(stream, "x") == b"true|nil|false|Failed to verify digest. Error code: 0|md1 is not supported."


def test_encodings_and_time() -> None:
    stream = run("""
    h:headers():add("a", h:base64Escape("foobar") .. h:base64Decode("Zm9v") .. tostring(h:base64Decode("!")))
    h:headers():add("b", #tostring(h:timestampString()) .. #h:timestampString(EnvoyTimestampResolution.MICROSECOND))
    h:headers():add("c", h:timestamp() > 1500000000000 and "yes" or "no")
    """)
    assert header(stream, "a") == b"Zm9vYmFyfoonil"
    assert header(stream, "b") == b"1316"
    assert header(stream, "c") == b"yes"


def test_stats_of_scripts() -> None:
    made = scene(
        request("h:stats():counter('hits'):add(2) h:stats():gauge('level'):set(4) h:stats():histogram('t', 'ms'):recordValue(3)"),
        stat_prefix="mine",
    )
    made.stream(request_headers())
    assert made.counter("lua.mine.hits") == 2
    assert made.store.gauge("lua.mine.level").value == 4
    assert made.counter("lua.mine.errors") == 0


def test_own_coroutines_and_unexpected_yields() -> None:
    made = scene(request("""
    local co = coroutine.wrap(function() coroutine.yield("inner") end)
    h:headers():add("x", co())
    coroutine.yield()
    """))
    stream = made.stream(request_headers())
    assert stream.passed and header(stream, "x") == b"inner"
    assert made.counter("lua.errors") == 1


def test_routes_choose() -> None:
    made = scene(
        request("h:headers():add('x', 'default' .. tostring(h:filterContext():get('k')))"),
        source_codes={"other": {"inline_string": request("h:headers():add('x', 'other')")}},
        filter_context={"k": "filter"},
    )
    own = request("h:headers():add('x', 'own' .. h:filterContext():get('k'))")
    cases: list[tuple[dict[str, object], bytes | None]] = [
        ({"disabled": True}, None),
        ({"name": "other"}, b"other"),
        ({"name": "unknown"}, None),
        ({"source_code": {"inline_string": own}, "filter_context": {"k": "v"}}, b"ownv"),
        ({"filter_context": {"k": "route"}}, b"defaultroute"),
    ]
    for config, expected in cases:
        stream = made.stream(request_headers(), made.route_config(ROUTE, config))
        assert header(stream, "x") == expected
    assert header(made.stream(request_headers()), "x") == b"defaultfilter"


def test_http_call_needs_a_cluster_and_headers() -> None:
    made = scene(request("h:httpCall('none', {[':method'] = 'GET', [':path'] = '/', [':authority'] = 'a'}, nil, 100)"))
    assert made.stream(request_headers()).passed
    assert made.counter("lua.errors") == 1


def test_python_is_out_of_reach() -> None:
    stream = run("h:headers():add('x', tostring(python) .. tostring(package.loaded.python))")
    assert header(stream, "x") == b"nilnil"


def test_streams_do_not_wait_for_the_collector_of_lua() -> None:
    made = scene(request("h:headers():add('x', h:streamInfo():protocol()) kept = h:body()"))
    gone: list[int] = []
    for _ in range(20):
        stream = made.stream(request_headers(), end=False)
        weakref.finalize(stream, gone.append, 1)
        stream.destroy_filters()
        del stream
    assert len(gone) == 20


def test_wrong_scripts_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"script load error: \[string \"function"):
        scene("function foo(")
    with pytest.raises(ConfigError, match="Only one of"):
        scene("", inline_code="x = 1")
    with pytest.raises(ConfigError, match="script load error"):
        scene("error('at once')")
