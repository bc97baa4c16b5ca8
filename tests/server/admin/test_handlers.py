"""Admin handlers without a server: texts, statuses and shapes recorded from Envoy 1.40."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from outrider.config import api
from outrider.config.runtime_layers import AdminLayer, Layer, RuntimeLoader
from outrider.config.view import View
from outrider.data.address import Address, ip_address, pipe_address
from outrider.extensions.all_extensions import load_extensions
from outrider.server.admin.endpoint import EndpointTable
from outrider.server.admin.request import AdminRequest, AdminResponse
from outrider.server.admin.server import pieces_of
from outrider.server.admin.state import AdminState
from outrider.server.admin.table import build_table
from outrider.server.bootstrap import BootstrapSettings
from outrider.server.options import LOGGER_NAMES, Options
from outrider.stats.store import Store
from outrider.stats.tags import TagProducer

LISTENER = {
    "name": "l0",
    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
    "filter_chains": [{"filters": [{"name": "envoy.filters.network.echo"}]}],
}


class FakeState(AdminState):
    """A server that only remembers what it was told."""

    def __init__(self, tree: dict[str, Any] | None = None, layers: list[Layer] | None = None) -> None:
        from google.protobuf import json_format

        message = api.new("envoy.config.bootstrap.v3.Bootstrap")
        json_format.ParseDict(tree or {}, message, descriptor_pool=api.pool())
        self.options = Options()
        self.settings = BootstrapSettings(View(message), self.options)
        self.store = Store()
        self.tag_producer = TagProducer()
        self.runtime = RuntimeLoader(layers if layers is not None else [], Store())
        self.said: list[str] = []
        self.state = "LIVE"
        self.levels = dict.fromkeys(LOGGER_NAMES, "info")
        self.addresses: list[tuple[str, list[Address]]] = []
        self.waiting: list[tuple[str, list[str]]] = []
        self.collected = 0

    async def collect_stats(self) -> None:
        self.collected += 1

    async def memory(self) -> list[tuple[int, int]]:
        return [(3000, 1000), (2000, 500)]

    async def host_stats(self) -> list[Any]:
        return []

    def state_name(self) -> str:
        return self.state

    def uptime_s(self) -> int:
        return 61

    def started_at_s(self) -> float:
        return 1_700_000_000.25

    def listener_addresses(self) -> list[tuple[str, list[Address]]]:
        return self.addresses

    def fail_health_check(self, failed: bool) -> None:
        self.said.append(f"fail {failed}")

    def drain_listeners(self, graceful: bool, inbound_only: bool, skip_exit: bool) -> None:
        self.said.append(f"drain {graceful} {inbound_only} {skip_exit}")

    def reopen_logs(self) -> None:
        self.said.append("reopen")

    def quit(self) -> None:
        self.said.append("quit")

    def log_levels(self) -> dict[str, str]:
        return self.levels

    def set_log_levels(self, levels: dict[str, str]) -> None:
        self.levels.update(levels)

    def cluster_dumps(self) -> list[Any]:
        return []

    def certificates(self) -> list[dict[str, Any]]:
        return []

    def unready_targets(self) -> list[tuple[str, list[str]]]:
        return self.waiting


def ask(
    state: AdminState, target: str, method: str = "GET", body: bytes = b"", content_type: str = ""
) -> AdminResponse:
    table: EndpointTable = build_table(state)
    return asyncio.run(table.dispatch(AdminRequest(method, target, body, content_type)))


def text(state: AdminState, target: str, method: str = "GET") -> str:
    return ask(state, target, method).text()


def test_help_lists_every_endpoint_and_unknown_paths_answer_with_it() -> None:
    state = FakeState()
    shown = text(state, "/help")
    assert shown.startswith("admin commands are:\n  /: This page\n  /allocprofiler (POST): ")
    assert "  /certs: Loaded certificates with names and validity\n" in shown
    assert "      enable: start (y) or stop (n); One of (y, n)\n" in shown
    assert shown.count("\n  /") == 33
    unknown = ask(state, "/nope")
    assert (unknown.status, unknown.text()) == (404, "invalid path. " + shown)


@pytest.mark.parametrize(
    "path",
    [
        "/quitquitquit", "/reset_counters", "/reopen_logs", "/logging", "/healthcheck/fail", "/healthcheck/ok",
        "/runtime_modify?a=b", "/drain_listeners", "/cpuprofiler", "/stats/recentlookups/clear",
    ],
)  # fmt: skip
def test_what_changes_something_needs_post(path: str) -> None:
    state = FakeState()
    answer = ask(state, path)
    assert (answer.status, answer.text()) == (405, "Method GET not allowed, POST required.")
    assert ask(state, path, "DELETE").text() == "Method DELETE not allowed, POST required."
    assert state.said == []


def test_commands_reach_the_server() -> None:
    state = FakeState()
    for path in ("/healthcheck/fail", "/healthcheck/ok", "/reopen_logs", "/quitquitquit", "/drain_listeners",
                 "/drain_listeners?graceful&inboundonly", "/drain_listeners?skip_exit"):  # fmt: skip
        assert ask(state, path, "POST").text() == "OK\n"
    assert state.said == [
        "fail True", "fail False", "reopen", "quit", "drain False False False", "drain True True False",
        "drain False False True",
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "status"), [("LIVE", 200), ("DRAINING", 503), ("INITIALIZING", 503)])
def test_ready(name: str, status: int) -> None:
    state = FakeState()
    state.state = name
    answer = ask(state, "/ready")
    assert (answer.status, answer.text(), answer.content_type) == (status, f"{name}\n", "text/plain; charset=UTF-8")


def test_logging_lists_and_changes_levels() -> None:
    state = FakeState()
    shown = text(state, "/logging", "POST")
    assert shown.startswith("active loggers:\n  a2a: info\n  admin: info\n")
    assert shown.endswith("  ip_tagging: info\n\n")
    assert "  admin: debug\n" in text(state, "/logging?admin=debug", "POST")
    text(state, "/logging?paths=admin:trace,config:warn", "POST")
    assert (state.levels["admin"], state.levels["config"], state.levels["main"]) == ("trace", "warning", "info")
    text(state, "/logging?level=error", "POST")
    assert set(state.levels.values()) == {"error"}
    # A form sends all its fields.
    assert ask(state, "/logging?paths=&group=&level=info", "POST").status == 200
    assert set(state.levels.values()) == {"info"}


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("level=zz", "unknown logger level"),
        ("zz=debug", "unknown logger name"),
        ("admin=zz", "unknown logger level"),
        ("paths=zz:debug", "unknown logger name"),
        ("paths=admin", "empty logger name or empty logger level"),
        ("group=admin:debug", "group parameter requires fine-grain logging to be enabled"),
        ("level=info&admin=info", "invalid number of parameters"),
    ],
)
def test_logging_errors(query: str, error: str) -> None:
    answer = ask(FakeState(), f"/logging?{query}", "POST")
    assert answer.status == 400
    assert answer.text().startswith(f"error: {error}\n\nusage: /logging?<name>=<level> (change single level)\n")
    assert "\nlevels: trace debug info warning error critical off \nactive loggers:\n" in answer.text()


def test_runtime() -> None:
    state = FakeState(layers=[Layer("base", {"a.b": (1, "")}), AdminLayer("admin", {})])
    assert ask(state, "/runtime_modify?a.b=2&c=x%20y", "POST").text() == "OK\n"
    assert json.loads(text(state, "/runtime")) == {
        "layers": ["base", "admin"],
        "entries": {
            "a.b": {"layer_values": ["1", "2"], "final_value": "2"},
            "c": {"layer_values": ["", "x y"], "final_value": "x y"},
        },
    }
    form = ask(state, "/runtime_modify", "POST", b"a.b=&c=", "application/x-www-form-urlencoded")
    assert form.text() == "OK\n"
    assert json.loads(text(state, "/runtime"))["entries"]["a.b"]["final_value"] == "1"
    usage = ask(state, "/runtime_modify", "POST")
    assert usage.status == 400
    assert usage.text().startswith("usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n")


def test_runtime_modify_without_an_admin_layer() -> None:
    answer = ask(FakeState(), "/runtime_modify?a=b", "POST")
    assert (answer.status, answer.text()) == (503, "No admin layer specified")


def test_listeners() -> None:
    state = FakeState()
    assert text(state, "/listeners") == ""
    assert text(state, "/listeners?format=json") == "{}\n"
    state.addresses = [
        ("web", [ip_address("127.0.0.1", 80), ip_address("::1", 81)]), ("pipe", [pipe_address("/run/x")]),
    ]  # fmt: skip
    assert text(state, "/listeners") == "web::127.0.0.1:80\nweb::[::1]:81\npipe::/run/x\n"
    assert json.loads(text(state, "/listeners?format=json")) == {
        "listener_statuses": [
            {
                "name": "web",
                "local_address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
                "additional_local_addresses": [{"socket_address": {"address": "::1", "port_value": 81}}],
            },
            {"name": "pipe", "local_address": {"pipe": {"path": "/run/x"}}},
        ]
    }


def test_stats_in_all_formats_and_their_errors() -> None:
    state = FakeState()
    state.store.counter("cluster.c.upstream_rq_total").add(3)
    assert text(state, "/stats") == "cluster.c.upstream_rq_total: 3\n"
    assert json.loads(text(state, "/stats?format=json"))["stats"][0] == {
        "name": "cluster.c.upstream_rq_total", "value": 3,
    }  # fmt: skip
    prometheus = 'envoy_cluster_upstream_rq_total{envoy_cluster_name="c"} 3\n'
    assert prometheus in text(state, "/stats/prometheus")
    assert prometheus in text(state, "/stats?format=prometheus")
    assert "cluster.c.upstream_rq_total: 3" in text(state, "/stats?format=html")
    assert state.collected == 5
    for query, message in (
        ("format=zz", "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n"),
        ("type=zz", "invalid &type= param"),
        ("filter=(", "Invalid re2 regex: missing ): ("),
        ("hidden=zz", "usage: /stats?hidden=(include|only|exclude)\n\n"),
    ):
        answer = ask(state, f"/stats?{query}")
        assert (answer.status, answer.text()) == (400, message)
    ask(state, "/reset_counters", "POST")
    assert text(state, "/stats") == "cluster.c.upstream_rq_total: 0\n"


def test_the_pages_escape_what_they_show() -> None:
    state = FakeState()
    page = text(state, "/stats?format=html&filter=%22%3E%3Cscript%3E")
    assert '"><script>' not in page
    assert "&quot;&gt;&lt;script&gt;" in page
    home = ask(state, "/")
    assert home.content_type == "text/html; charset=UTF-8"
    assert "config_dump" in home.text()


def test_recent_lookups() -> None:
    state = FakeState()
    assert text(state, "/stats/recentlookups").startswith("Lookup tracking is not enabled.")
    table = build_table(state)
    asyncio.run(table.dispatch(AdminRequest("POST", "/stats/recentlookups/enable")))
    shown = asyncio.run(table.dispatch(AdminRequest("GET", "/stats/recentlookups"))).text()
    assert shown == "   Count Lookup\n\ntotal: 0\n"


def test_server_info() -> None:
    load_extensions()
    state = FakeState({"node": {"id": "n1", "locality": {"zone": "z"}}})
    info = json.loads(text(state, "/server_info"))
    assert info["state"] == "LIVE"
    assert info["uptime_current_epoch"] == "61s"
    assert info["command_line_options"]["drain_strategy"] == "Gradual"
    assert info["node"]["id"] == "n1"
    assert info["node"]["locality"] == {"region": "", "zone": "z", "sub_zone": ""}
    assert info["node"]["user_agent_build_version"]["version"]["minor_number"] == 40
    names = {each["name"] for each in info["node"]["extensions"]}
    assert "envoy.filters.network.http_connection_manager" in names
    assert not any(name.startswith("outrider.") for name in names)


def test_memory_adds_the_processes_up() -> None:
    memory = json.loads(text(FakeState(), "/memory"))
    assert memory["allocated"] == "1500"
    assert memory["total_physical_bytes"] == "5000"
    assert len(memory) == 6


def test_contention() -> None:
    state = FakeState()
    assert text(state, "/contention").startswith("Mutex contention tracing is not enabled.")
    state.options.enable_mutex_tracing = True
    assert json.loads(text(state, "/contention"))["num_contentions"] == "0"


def test_init_dump() -> None:
    state = FakeState()
    assert text(state, "/init_dump") == "{}\n"
    state.waiting = [("Server", ["LDS", "SdsApi a"])]
    assert json.loads(text(state, "/init_dump")) == {
        "unready_targets_dumps": [{"name": "init manager Server", "target_names": ["target LDS", "shared target SdsApi a"]}]
    }
    assert text(state, "/init_dump?mask=cluster") == "{}\n"


def test_profilers(tmp_path: Any) -> None:
    state = FakeState({"admin": {"profile_path": str(tmp_path / "prof")}})
    assert (ask(state, "/cpuprofiler", "POST").status, ask(state, "/cpuprofiler?enable=x", "POST").status) == (400, 400)
    table = build_table(state)
    asyncio.run(table.dispatch(AdminRequest("POST", "/cpuprofiler?enable=y")))
    assert asyncio.run(table.dispatch(AdminRequest("POST", "/cpuprofiler?enable=n"))).text() == "OK\n"
    assert (tmp_path / "prof").stat().st_size > 0
    nowhere = FakeState({"admin": {"profile_path": "/nonexistent/dir/prof"}})
    answer = ask(nowhere, "/cpuprofiler?enable=y", "POST")
    assert (answer.status, answer.text()) == (500, "failure to start the profiler")
    assert ask(state, "/heapprofiler?enable=y", "POST").status == 501
    assert ask(state, "/heap_dump").status == 501


def dump_state() -> FakeState:
    return FakeState(
        {
            "node": {"id": "n1"},
            "static_resources": {
                "listeners": [LISTENER, {**LISTENER, "name": "other"}],
                "clusters": [{"name": "c1"}],
                "secrets": [{"name": "s", "generic_secret": {"secret": {"inline_string": "hidden"}}}],
            },
        }
    )


def test_config_dump_has_envoys_sections_in_order() -> None:
    configs = json.loads(text(dump_state(), "/config_dump"))["configs"]
    assert [each["@type"].rpartition(".")[2] for each in configs] == [
        "BootstrapConfigDump", "ClustersConfigDump", "ListenersConfigDump", "SecretsConfigDump",
    ]  # fmt: skip
    assert configs[0]["bootstrap"]["node"]["id"] == "n1"
    assert configs[0]["last_updated"] == "2023-11-14T22:13:20.250Z"
    entry = configs[2]["static_listeners"][0]["listener"]
    assert entry["@type"] == "type.googleapis.com/envoy.config.listener.v3.Listener"
    assert "hidden" not in text(dump_state(), "/config_dump")
    with_eds = json.loads(text(dump_state(), "/config_dump?include_eds"))["configs"]
    assert with_eds[2]["@type"].endswith("EndpointsConfigDump")


def test_config_dump_of_a_resource_with_mask_and_names() -> None:
    state = dump_state()
    entries = json.loads(text(state, "/config_dump?resource=static_listeners&mask=listener.name"))["configs"]
    assert [set(each["listener"]) for each in entries] == [{"@type", "name"}] * 2
    assert entries[0]["@type"].endswith("ListenersConfigDump.StaticListener")
    only = json.loads(text(state, "/config_dump?resource=static_listeners&name_regex=oth.*"))["configs"]
    assert [each["listener"]["name"] for each in only] == ["other"]
    assert text(state, "/config_dump?resource=static_listeners&name_regex=zz") == "{}\n"
    masked = json.loads(text(state, "/config_dump?mask=bootstrap.node.id"))["configs"]
    assert masked == [
        {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {"node": {"id": "n1"}}}
    ]


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("resource=zz", 404, "zz not found in config dump"),
        ("mask=zz", 400, "FieldMask zz could not be successfully applied to any configs."),
        ("name_regex=(", 400, "INVALID_ARGUMENT: Error while parsing name_regex from (: missing ): ("),
        ("resource=bootstrap", 400, "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field"),
        ("resource=static_listeners&mask=zz", 400, 'FieldMask paths: "zz"\n could not be successfully used.'),
    ],
)
def test_config_dump_errors(query: str, status: int, message: str) -> None:
    answer = ask(dump_state(), f"/config_dump?{query}")
    assert (answer.status, answer.text(), answer.content_type) == (status, message, "text/plain")


def test_bodies_are_sent_in_pieces() -> None:
    lines = [f"{number}\n" for number in range(50_000)]
    pieces = list(pieces_of(AdminResponse(iter(lines))))
    assert b"".join(pieces).decode() == "".join(lines)
    assert max(map(len, pieces)) < 70_000
    assert list(pieces_of(AdminResponse(""))) == []
    assert list(pieces_of(AdminResponse(b"\x00"))) == [b"\x00"]


def test_requests_are_parsed() -> None:
    request = AdminRequest("GET", "/a%20b?x=1&x=2&flag&y=%2F#frag")
    assert request.path == "/a b"
    assert request.params == {"x": "1", "flag": "", "y": "/"}
    assert request.flag("flag")
    assert request.get("flag") is None
