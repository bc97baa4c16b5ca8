"""envoy.filters.http.lua: the same scripts on both sides."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, Json, bootstrap, cluster, file_log, http, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.parity.test_http_filters_traffic import hosts
from tests.support.http1_message import answer, get, post, request
from tests.support.upstream import Answer, Hang

LUA = TYPE + "extensions.filters.http.lua.v3."
LOG = file_log("%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %DYNAMIC_METADATA(ns)% %FILTER_STATE(my.key:PLAIN)%\n")


def lua(code: str, **options: object) -> Json:
    return {
        "name": "lua",
        "typed_config": {"@type": LUA + "Lua", "default_source_code": {"inline_string": code}, **options},
    }


def on_request(code: str, **options: object) -> list[Json]:
    return [lua(f"function envoy_on_request(h)\n{code}\nend", **options)]


def on_response(code: str, **options: object) -> list[Json]:
    return [lua(f"function envoy_on_response(h)\n{code}\nend", **options)]


HEADERS = """
local headers = h:headers()
headers:replace("x-b", "new")
headers:remove("x-c")
headers:add("x-get", headers:get("X-A") .. "|" .. (headers:get("x-none") or "none") .. "|" .. headers:get(":method") .. headers:get(":path"))
headers:add("x-index", tostring(headers:getAtIndex("x-a", 1)) .. headers:getNumValues("x-a") .. (headers:getAtIndex("x-a", 9) or "none"))
headers:add("x-number", 5)
local names = {}
for name, value in pairs(headers) do
  if name:sub(1, 4) == "x-a" or name == ":path" then names[#names + 1] = name .. "=" .. value end
end
headers:add("x-names", table.concat(names, ";"))
"""
BODY = """
local body = h:body()
local size, part = body:length(), body:getBytes(1, 2)
h:headers():add("x-length", size)
h:headers():add("x-part", part)
"""
BODY_SET = """
local body = h:body(true)
local old = body:length()
body:setBytes("changed from " .. old)
h:headers():replace("x-set", "1")
"""
CHUNKS = """
local sizes = ""
for chunk in h:bodyChunks() do sizes = sizes .. chunk:length() .. "," end
local trailers = h:trailers()
if trailers then trailers:add("x-sizes", sizes) h:logInfo(trailers:get("x-t")) end
"""
CALL = """
local headers, body = h:httpCall("side", {[":method"] = "POST", [":path"] = "/call", [":authority"] = "lua", ["x-list"] = {"1", "2"}}, "hello", 2000)
h:headers():add("x-status", headers[":status"])
h:headers():add("x-answer", tostring(headers["x-answer"]))
h:headers():add("x-body", tostring(body))
"""
CALL_BODY = """
local size = h:body():length()
local headers, body = h:httpCall("side", {[":method"] = "GET", [":path"] = "/call", [":authority"] = "lua"}, nil, {timeout_ms = 2000, send_xff = false})
h:headers():add("x-both", size .. tostring(body))
h:body():setBytes("replaced after the call")
"""
CALL_DEAD = CALL.replace('"side"', '"dead"').replace("tostring(body)", "body:sub(1, 22)")
CALL_TIMEOUT = CALL.replace("2000", "200")
CALL_ASYNC = """
local none = h:httpCall("side", {[":method"] = "GET", [":path"] = "/async", [":authority"] = "lua"}, nil, 2000, true)
h:headers():add("x-none", tostring(none))
"""
RESPOND = """
local path = h:headers():get(":path")
if path == "/plain" then h:respond({[":status"] = "403", ["x-a"] = {"1", "2"}}, "nope")
elseif path == "/none" then h:respond({[":status"] = "204"})
elseif path == "/type" then h:respond({[":status"] = "200", ["content-type"] = "text/html"}, "<p>")
elseif path == "/bad" then h:respond({[":status"] = "99"}, "x")
elseif path == "/body" then h:body() h:respond({[":status"] = "429"}, "after body")
elseif path == "/call" then local _, body = h:httpCall("side", {[":method"] = "GET", [":path"] = "/", [":authority"] = "a"}, nil, 1000) h:respond({[":status"] = "200"}, body)
elseif path == "/chunks" then for _ in h:bodyChunks() do h:respond({[":status"] = "400"}, "late") end
else h:headers():add("x-passed", "1") end
"""
RESPONSE = """
local headers = h:headers()
headers:add("x-status", headers:get(":status"))
headers:add("x-request", h:requestHeaders():get(":path"))
headers:setHttp1ReasonPhrase("Fine")
local body = h:body()
h:headers():add("x-body", body and body:length() or "none")
if body then body:setBytes("<" .. body:getBytes(0, body:length()) .. ">") end
"""
RESPONSE_CHUNKS = """
h:headers():remove("content-length")
local last
for chunk in h:bodyChunks() do if chunk:length() > 0 then chunk:setBytes("<" .. chunk:getBytes(0, chunk:length()) .. ">") end end
"""
RESPONSE_CALL = """
local _, body = h:httpCall("side", {[":method"] = "GET", [":path"] = "/r", [":authority"] = "a"}, nil, 1000)
h:headers():add("x-call", body)
"""
STATUS = "h:headers():replace(':status', '299')"
METADATA = """
local found = h:metadata()
local text, number, flag, none = found:get("text"), found:get("number"), found:get("flag"), found:get("none")
local out = tostring(text) .. tostring(number) .. tostring(flag) .. tostring(none)
local list = found:get("list")
if list then out = out .. #list .. list[1] .. list[2].deep end
h:headers():add("x-meta", out)
local vh = h:virtualHost():metadata():get("host")
local route = h:route():metadata():get("text")
h:headers():add("x-host", tostring(vh) .. tostring(route))
h:streamInfo():dynamicMetadata():set("ns", "k", {a = 1.5, b = "x", c = {1, 2}})
h:streamInfo():filterState():set("my.key", "envoy.string", "state")
local info = h:streamInfo()
h:headers():add("x-info", info:protocol() .. "|" .. info:routeName() .. "|" .. info:virtualClusterName() .. "|" .. info:requestedServerName() .. "|" .. tostring(info:downstreamSslConnection()) .. "|" .. info:filterState():get("my.key"))
h:headers():add("x-context", h:filterContext():get("c"))
h:headers():add("x-64", h:base64Escape("a\\0b") .. h:base64Decode("Zm9vYg==") .. tostring(h:base64Decode("?")))
"""
ERRORS = """
local path = h:headers():get(":path")
if path == "/nil" then local x x.y = 1
elseif path == "/late" then h:body() h:headers():add("x-a", "1") error("after")
elseif path == "/yield" then coroutine.yield()
elseif path == "/walk" then for _ in pairs(h:headers()) do h:headers():add("x-no", "1") end
elseif path == "/cluster" then h:httpCall("none", {[":method"] = "GET", [":path"] = "/", [":authority"] = "a"}, nil, 10)
elseif path == "/headers" then h:httpCall("side", {[":method"] = "GET"}, nil, 10)
elseif path == "/twice" then for _ in h:bodyChunks() do end h:body()
elseif path == "/continued" then for _ in h:bodyChunks() do h:headers():add("x-late", "1") end
elseif path == "/old" then local headers = h:headers() h:body() headers:add("x-old", "1")
end
"""
ROUTED_HOSTS = [
    {
        "name": "all",
        "domains": ["*"],
        "metadata": {"filter_metadata": {"lua": {"host": "vh"}}},
        "routes": [
            {
                "name": "first",
                "match": {"prefix": "/meta"},
                "route": {"cluster": "up"},
                "metadata": parse("filter_metadata: {lua: {text: t, number: 2.5, flag: true, list: [a, {deep: d}]}}"),
                "typed_per_filter_config": {"lua": {"@type": LUA + "LuaPerRoute", "filter_context": {"c": "per route"}}},
            },
            {
                "match": {"prefix": "/canonical"},
                "route": {"cluster": "up"},
                "metadata": parse("filter_metadata: {envoy.filters.http.lua: {text: canonical}}"),
            },
            {"match": {"headers": [{"name": "x-go", "string_match": {"exact": "two"}}], "prefix": "/"}, "route": {"cluster": "two"}},
            {"match": {"prefix": "/"}, "route": {"cluster": "up"}},
        ],
    }
]
OWN = "function envoy_on_request(h) h:headers():add('x-script', 'route') end"
CHOSEN_HOSTS = hosts([])
CHOSEN_HOSTS[0]["routes"] = [
    {"match": {"prefix": path}, "route": {"cluster": "up"}, "typed_per_filter_config": {"lua": {"@type": LUA + "LuaPerRoute", **config}}}
    for path, config in (
        ("/off", {"disabled": True}),
        ("/named", {"name": "named"}),
        ("/unknown", {"name": "unknown"}),
        ("/own", {"source_code": {"inline_string": OWN}}),
    )
] + [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]
TRAILERS = "http_protocol_options: {enable_trailers: true}"

GROUP = SideConfig(
    bootstrap(
        [
            http("headers", filters=on_request(HEADERS), log=[LOG]),
            http("body", filters=on_request(BODY), log=[LOG], options=TRAILERS),
            http("body_set", filters=on_request(BODY_SET), log=[LOG], options=TRAILERS),
            http("chunks", filters=on_request(CHUNKS), log=[LOG], options=TRAILERS),
            http("call", filters=on_request(CALL), log=[LOG]),
            http("call_body", filters=on_request(CALL_BODY), log=[LOG]),
            http("call_dead", filters=on_request(CALL_DEAD), log=[LOG]),
            http("call_timeout", filters=on_request(CALL_TIMEOUT), log=[LOG]),
            http("call_async", filters=on_request(CALL_ASYNC), log=[LOG]),
            http("respond", filters=on_request(RESPOND), log=[LOG]),
            http("response", filters=on_response(RESPONSE), log=[LOG]),
            http("response_chunks", filters=on_response(RESPONSE_CHUNKS), log=[LOG]),
            http("response_call", filters=on_response(RESPONSE_CALL), log=[LOG]),
            http("status", filters=on_response(STATUS), log=[LOG]),
            http("metadata", ROUTED_HOSTS, filters=on_request(METADATA, filter_context={"c": "filter"}), log=[LOG]),
            http("routed", ROUTED_HOSTS, filters=on_request("h:headers():replace('x-go', 'two')"), log=[LOG]),
            http("unrouted", ROUTED_HOSTS, filters=on_request("h:streamInfo():routeName() h:metadata() h:headers():replace('x-go', 'two')", clear_route_cache=False), log=[LOG]),
            http("cleared", ROUTED_HOSTS, filters=on_request("h:metadata() h:headers():replace('x-go', 'two') h:clearRouteCache()", clear_route_cache=False), log=[LOG]),
            http("chosen", CHOSEN_HOSTS, filters=on_request("h:headers():add('x-script', 'default')", source_codes={"named": {"inline_string": OWN.replace("'route'", "'named'")}}), log=[LOG]),
            http("errors", filters=on_request(ERRORS, stat_prefix="mine"), log=[LOG]),
            http("stats", filters=on_request("h:stats():counter('hits'):add(2) h:stats():gauge('level'):set(4)", stat_prefix="mine"), log=[LOG]),
            http("drain", filters=on_response("h:streamInfo():drainConnectionUponCompletion()"), log=[LOG]),
        ],
        [cluster("up"), cluster("two"), cluster("side"), cluster("dead", "<<refused:a>>")],
    )
)

CHUNKED = ("transfer-encoding", "chunked")
CHUNKED_POST = request("POST", "/", "test", (CHUNKED,)) + b"3\r\nabc\r\n0\r\nx-t: 2\r\n\r\n"
SIDE: dict[str, Sequence[Answer]] = {"side": [[answer("200 OK", ("x-answer", "yes"), body=b"from the side")]]}
CASES = [
    Case("headers", get("/p", "test", ("x-a", "1"), ("x-a", "2"), ("x-b", "1"), ("x-c", "1")), listener="headers"),
    Case("body", post("/", body=b"hello"), listener="body"),
    Case("body_with_trailers", CHUNKED_POST, listener="body"),
    Case("no_body", get("/"), listener="body", expect_stats=["http.body.lua.errors"]),
    Case("body_set", post("/", body=b"hello"), listener="body_set"),
    Case("body_set_without", get("/"), listener="body_set"),
    Case("body_set_chunked", CHUNKED_POST, listener="body_set"),
    Case("chunks", CHUNKED_POST, listener="chunks"),
    Case("chunks_plain", post("/", body=b"hello"), listener="chunks"),
    Case("call", get("/"), listener="call", answers_by=SIDE, upstream_sorted=True),
    Case("call_while_body", post("/", body=b"hello"), listener="call", answers_by=SIDE, upstream_sorted=True),
    Case("call_after_body", post("/", body=b"hello"), listener="call_body", answers_by=SIDE, upstream_sorted=True),
    Case("call_dead", get("/"), listener="call_dead", replace=[(r"delayed connect error: \S+( \S+)*", "delayed connect error")]),
    Case("call_timeout", get("/"), listener="call_timeout", answers_by={"side": [[Hang()]]}, upstream_sorted=True, ignore_stats=["cluster.side"]),
    Case("call_async", get("/"), listener="call_async", answers_by=SIDE, upstream_sorted=True, settle=0.2),
    Case("respond", get("/plain"), 403, listener="respond"),
    Case("respond_204", get("/none"), 204, listener="respond"),
    Case("respond_type", get("/type"), listener="respond"),
    Case("respond_bad", get("/bad"), listener="respond"),
    Case("respond_after_body", post("/body", body=b"xyz"), 429, listener="respond"),
    Case("respond_after_call", get("/call"), listener="respond", answers_by=SIDE),
    Case("respond_after_chunks", post("/chunks", body=b"xyz"), listener="respond"),
    Case("passed", get("/other"), listener="respond"),
    Case("response", get("/p"), listener="response", answers=[[answer(body=b"body")]]),
    Case("response_without", get("/p"), listener="response", answers=[[answer(body=b"")]]),
    Case("response_chunks", get("/p"), listener="response_chunks", answers=[[answer(body=b"body")]]),
    Case("response_call", get("/p"), listener="response_call", answers=[[answer(body=b"body")]], answers_by=SIDE, upstream_sorted=True),
    Case("status", get("/p"), 299, listener="status"),
    Case("metadata", get("/meta"), listener="metadata"),
    Case("metadata_none", get("/"), listener="metadata"),
    Case("metadata_canonical", get("/canonical"), listener="metadata"),
    Case("routed", get("/"), listener="routed"),
    Case("unrouted", get("/"), listener="unrouted"),
    Case("cleared", get("/"), listener="cleared"),
    *[Case("chosen" + path[1:], get(path), listener="chosen") for path in ("/off", "/named", "/unknown", "/own", "/")],
    *[
        Case("error_" + path[1:], post(path, body=b"abc"), listener="errors", expect_stats=["http.errors.lua.mine.errors"])
        for path in ("/nil", "/late", "/yield", "/walk", "/cluster", "/headers", "/twice", "/continued", "/old")
    ],
    Case("stats", get("/"), listener="stats", expect_stats=["http.stats.lua.mine.hits"]),
    Case("drain", get("/"), listener="drain", to_end=True, ignore_stats=["delayed_close"]),
]

@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(pair: Pair, case: Case) -> None:
    pair.check(case)
