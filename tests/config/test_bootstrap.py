from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from messages import BOOTSTRAP, HCM, TYPE_URL, message_of

from outrider.config import api
from outrider.config.bootstrap import deprecated_features, load_bootstrap
from outrider.config.errors import ConfigError
from outrider.config.load import LoadPolicy, load_message, paused_collector, verify
from outrider.config.source import Source

GOOD = "node: {id: a, cluster: c}\nstatic_resources:\n  clusters:\n  - name: one\n    connect_timeout: 1s\n"


def written(folder: Path, text: str | bytes, name: str = "f.yaml") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def messages_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_every_kind_of_file_gives_the_same(tmp_path: Path) -> None:
    expected: Any = load_bootstrap(written(tmp_path, GOOD)).proto
    assert expected.static_resources.clusters[0].name == "one"
    clusters = '{"clusters": [{"name": "one", "connectTimeout": "1s"}]}'
    as_json = f'{{"node": {{"id": "a", "cluster": "c"}}, "static_resources": {clusters}}}'
    for name, content in (
        ("f.json", as_json.encode()),
        ("f", as_json.encode()),
        ("f.pb", expected.SerializeToString()),
        ("f.pb_text", text_format.MessageToString(expected).encode()),
    ):
        assert load_bootstrap(written(tmp_path, content, name)).proto == expected


def test_config_yaml_is_merged_over_the_file(tmp_path: Path) -> None:
    over = "{node: {cluster: other}, static_resources: {clusters: [{name: two}]}}"
    view = load_bootstrap(written(tmp_path, GOOD), over)
    bootstrap: Any = view.proto
    assert (bootstrap.node.id, bootstrap.node.cluster) == ("a", "other")
    assert [cluster.name for cluster in bootstrap.static_resources.clusters] == ["one", "two"]
    resources = view.message("static_resources")
    assert resources is not None
    first, second = resources.messages("clusters")
    assert str(first.error("x", "name")) == f"{tmp_path}/f.yaml:4: static_resources.clusters[0].name: x"
    assert str(second.error("x", "name")) == "--config-yaml:1: static_resources.clusters[1].name: x"
    assert load_bootstrap(None, GOOD).proto == load_bootstrap(written(tmp_path, GOOD)).proto


def test_nothing_given() -> None:
    for path, text in ((None, None), ("", ""), (None, "")):
        with pytest.raises(ConfigError, match="At least one of --config-path or --config-yaml"):
            load_bootstrap(path, text)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("f.pb", b"\xff\xff", "f.pb: is not a binary envoy.config.bootstrap.v3.Bootstrap"),
        ("f.pb", b"\xfa\x3f\x02ab", "unknown fields with the numbers [1023] in envoy.config.bootstrap.v3.Bootstrap"),
        ("f.pb_text", b"node {\n  idd: 5 }", "f.pb_text:2:3: is not a text envoy.config.bootstrap.v3.Bootstrap: "
         'Message type "envoy.config.core.v3.Node" has no field named "idd"'),
        ("f.pb_text", b"\xff", "f.pb_text: is not UTF-8"),
        ("f.yaml", b"", "f.yaml: the file is empty"),
        ("f.yaml", b"[1]", "expected an object (envoy.config.bootstrap.v3.Bootstrap), found a list"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path: Path, name: str, content: bytes, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_bootstrap(written(tmp_path, content, name))
    assert line in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_all_faults_at_once_with_file_line_and_column(tmp_path: Path) -> None:
    path = written(tmp_path, "node:\n  idd: x\n  cluster: 5\nadmin: {address: 7}\n")
    with pytest.raises(ConfigError) as caught:
        load_bootstrap(path)
    assert str(caught.value).splitlines() == [
        f"{path}:2:3: node.idd: no such field in envoy.config.core.v3.Node (did you mean 'id'?)",
        f"{path}:3:3: node.cluster: expected a string, found the number 5 (quote it)",
        f"{path}:4:9: admin.address: expected an object (envoy.config.core.v3.Address), found the number 7",
    ]


def test_broken_constraints_name_their_line(tmp_path: Path) -> None:
    path = written(tmp_path, "static_resources:\n  clusters:\n  - connect_timeout: 0s\n    name: ''\n")
    with pytest.raises(ConfigError) as caught:
        load_bootstrap(path)
    assert str(caught.value).splitlines() == [
        f"{path}:4: static_resources.clusters[0].name: value length must be at least 1 characters",
        f"{path}:3: static_resources.clusters[0].connect_timeout: value must be greater than 0s",
    ]


def test_unknown_fields_can_be_allowed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, "foo: 1\nnode: {id: a, bar: 2}\nstatic_resources: {clusters: [{name: a, type: NONE}]}\n")
    policy = LoadPolicy(allow_unknown=True)
    with caplog.at_level(logging.WARNING, "outrider.config"):
        bootstrap: Any = load_bootstrap(path, policy=policy).proto
    assert bootstrap.node.id == "a"
    assert policy.unknown_fields == 3
    assert len(messages_of(caplog)) == 3
    assert messages_of(caplog)[0] == f"unknown field: {path}:1:1: foo: no such field in {BOOTSTRAP}"
    with pytest.raises(ConfigError, match="expected a string"):
        load_bootstrap(None, "{foo: 1, node: {id: 5}}", LoadPolicy(allow_unknown=True))
    policy = LoadPolicy(allow_unknown=True)
    load_bootstrap(written(tmp_path, b"\xfa\x3f\x02ab", "f.pb"), policy=policy)
    assert policy.unknown_fields == 1


def test_one_warning_for_each_outdated_construct(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, "admin:\n  access_log_path: /dev/null\n")
    policy = LoadPolicy()
    with caplog.at_level(logging.WARNING, "outrider.config"):
        load_bootstrap(path, policy=policy)
    assert messages_of(caplog) == [
        f"outdated configuration: {path}:2: admin.access_log_path: "
        "field 'envoy.config.bootstrap.v3.Admin.access_log_path' is deprecated"
    ]
    assert policy.deprecated == 1


def test_the_same_construct_in_many_places_is_summed_up(caplog: pytest.LogCaptureFixture) -> None:
    clusters = [{"name": str(number), "connect_timeout": "1s", "dns_refresh_rate": "5s"} for number in range(50)]
    message = message_of(BOOTSTRAP, {"static_resources": {"clusters": clusters}})
    policy = LoadPolicy()
    with caplog.at_level(logging.WARNING, "outrider.config"):
        verify(message, policy)
    assert policy.deprecated == 50
    lines = messages_of(caplog)
    assert len(lines) == 21
    assert lines[-1] == ("outdated configuration: 'envoy.config.cluster.v3.Cluster.dns_refresh_rate' in 30 more places")


REFUSED = """
static_resources:
  clusters:
  - name: a
    type: EDS
    eds_cluster_config: {eds_config: {api_config_source: {grpc_services: [{envoy_grpc: {cluster_name: a}}]}}}
"""


def test_disallowed_values_are_refused_unless_runtime_allows_them() -> None:
    with pytest.raises(ConfigError, match="Envoy refuses it unless the runtime key"):
        load_bootstrap(None, REFUSED)
    key = "envoy.deprecated_features:envoy.config.core.v3.ApiConfigSource.ApiType.DEPRECATED_AND_UNAVAILABLE_DO_NOT_USE"
    for name in (key, "envoy.features.enable_all_deprecated_features"):
        layers = f'layered_runtime: {{layers: [{{name: s, static_layer: {{"{name}": true}}}}]}}'
        load_bootstrap(None, REFUSED + layers)
    off = f'layered_runtime: {{layers: [{{name: s, static_layer: {{"{key}": false}}}}]}}'
    with pytest.raises(ConfigError):
        load_bootstrap(None, REFUSED + off)


def test_later_layers_win() -> None:
    layers = [
        {"name": "a", "static_layer": {"envoy.deprecated_features:x.y": True, "envoy": {"other": 1}}},
        {"name": "b", "admin_layer": {}},
        {"name": "c", "static_layer": {"envoy.deprecated_features:x.y": False, "envoy.deprecated_features:z": "true"}},
    ]
    assert deprecated_features(message_of(BOOTSTRAP, {"layered_runtime": {"layers": layers}})) == {"z"}


def test_work_in_progress_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    policy = LoadPolicy()
    with caplog.at_level(logging.WARNING, "outrider.config"):
        verify(message_of("xds.core.v3.ContextParams", {}), policy)
    assert policy.work_in_progress == 1
    assert messages_of(caplog) == ["xds.core.v3.ContextParams is work in progress in Envoy's API"]


def test_keys_given_twice_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "outrider.config"):
        bootstrap: Any = load_bootstrap(None, "node: {id: a, id: b}").proto
    assert bootstrap.node.id == "b"
    assert messages_of(caplog) == ["--config-yaml:1:15: key 'id' is given twice; the last one counts"]


def test_other_messages_are_loaded_alike() -> None:
    source = Source("eds.yaml", "yaml", b"version_info: '1'\nresources: []\n")
    view = load_message([source], "envoy.service.discovery.v3.DiscoveryResponse", LoadPolicy())
    assert view.text("version_info") == "1"


def test_the_collector_is_paused_and_comes_back() -> None:
    assert gc.isenabled()
    with pytest.raises(RuntimeError), paused_collector():
        assert not gc.isenabled()
        raise RuntimeError
    assert gc.isenabled()
    gc.disable()
    try:
        with paused_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_five_thousand_routes_load_in_time() -> None:
    """Well under a second on an idle machine; the bound leaves room for a busy one."""
    import time

    lines = [
        "static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 0}},",
        "filter_chains: [{filters: [{name: h, typed_config: {",
        f'"@type": {TYPE_URL}{HCM},',
        'stat_prefix: i, route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [',
    ]
    lines += [f"{{match: {{prefix: /{number}/}}, route: {{cluster: c, timeout: 15s}}}}," for number in range(5000)]
    lines.append("]}]}}}]}]}]}")
    start = time.process_time()
    view = load_bootstrap(None, "\n".join(lines))
    assert time.process_time() - start < 2.0
    resources = view.message("static_resources")
    assert resources is not None
    manager = resources.messages("listeners")[0].messages("filter_chains")[0].messages("filters")[0].any("typed_config")
    routes = manager.message("route_config")
    assert routes is not None
    assert len(routes.messages("virtual_hosts")[0].messages("routes")) == 5000
    assert api.has_type(manager.type_name)
