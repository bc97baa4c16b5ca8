from __future__ import annotations

import pytest
from messages import BOOTSTRAP, CLUSTER, HCM, LISTENER, ROUTER, ROUTES, TYPE_URL, message_of, view_of

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.view import View


def test_scalars_and_wrappers_with_their_defaults() -> None:
    cluster = view_of(CLUSTER, {"name": "a", "per_connection_buffer_limit_bytes": 0})
    assert cluster.text("name") == "a"
    assert cluster.text("alt_stat_name", "unused: no presence") == ""
    assert cluster.integer("per_connection_buffer_limit_bytes", 7) == 0
    assert cluster.integer("max_requests_per_connection", 7) == 7
    manager = view_of(HCM, {"generate_request_id": False})
    assert manager.flag("generate_request_id", True) is False
    assert manager.flag("use_remote_address", True) is True
    assert manager.flag("skip_xff_append") is False
    assert cluster.seconds("connect_timeout") is None


def test_durations() -> None:
    cluster = view_of(CLUSTER, {"connect_timeout": "1.2509s", "dns_refresh_rate": "5s"})
    assert cluster.seconds("connect_timeout") == pytest.approx(1.2509)
    assert cluster.millis("connect_timeout") == 1250
    assert cluster.millis("dns_refresh_rate") == 5000
    assert cluster.millis("cleanup_interval") is None


def test_percent_enum_bytes_and_lists() -> None:
    cluster = view_of(
        CLUSTER,
        {"lb_policy": "RING_HASH", "common_lb_config": {"healthy_panic_threshold": {"value": 12.5}}},
    )
    assert cluster.enum("lb_policy") == "RING_HASH"
    common = cluster.message("common_lb_config")
    assert common is not None
    assert common.number("healthy_panic_threshold", 50.0) == 12.5
    assert view_of("envoy.config.cluster.v3.Cluster.CommonLbConfig", {}).number("healthy_panic_threshold", 50.0) == 50.0
    source = view_of("envoy.config.core.v3.DataSource", {"inline_bytes": "aGk="})
    assert source.data("inline_bytes") == b"hi"
    routes = view_of(ROUTES, {"internal_only_headers": ["a", "b"]})
    assert routes.texts("internal_only_headers") == ["a", "b"]
    retry = view_of("envoy.config.route.v3.RetryPolicy", {"retriable_status_codes": [502, 503]})
    assert retry.integers("retriable_status_codes") == [502, 503]
    unknown = view_of(CLUSTER, {"lb_policy": 99})
    assert unknown.enum("lb_policy") == "99"


def test_maps_structs_and_values() -> None:
    node = view_of("envoy.config.core.v3.Node", {"metadata": {"a": 1, "b": [True, None, {"c": "d"}]}})
    assert node.struct("metadata") == {"a": 1.0, "b": [True, None, {"c": "d"}]}
    metadata = view_of("envoy.config.core.v3.Metadata", {"filter_metadata": {"x": {"y": 1}}})
    assert metadata.struct_map("filter_metadata") == {"x": {"y": 1.0}}
    assert metadata.unread() == []
    oauth = view_of("envoy.config.core.v3.SubstitutionFormatString", {"json_format": {"a": "%B%"}, "content_type": "x"})
    assert oauth.struct("json_format") == {"a": "%B%"}
    assert oauth.unread() == ["content_type"]


def test_wrong_names_and_types_are_faults_of_the_program() -> None:
    cluster = view_of(CLUSTER, {"name": "a"})
    with pytest.raises(KeyError):
        cluster.text("nmae")
    with pytest.raises(KeyError):
        cluster.accept("nmae")
    with pytest.raises(KeyError):
        cluster.which("nmae")
    with pytest.raises(AssertionError):
        cluster.integer("name")
    with pytest.raises(AssertionError):
        cluster.message("name")
    with pytest.raises(AssertionError):
        cluster.messages("load_assignment")


FILTERS = {
    "name": "l",
    "filter_chains": [
        {
            "filters": [
                {
                    "name": "hcm",
                    "typed_config": {
                        "@type": TYPE_URL + HCM,
                        "stat_prefix": "x",
                        "route_config": {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"]}]},
                    },
                }
            ]
        }
    ],
}


def test_paths_lead_through_lists_and_anys() -> None:
    listener = view_of(LISTENER, FILTERS, "static_resources.listeners[0]")
    chain = listener.messages("filter_chains")[0]
    manager = chain.messages("filters")[0].any("typed_config")
    routes = manager.message("route_config")
    assert routes is not None
    assert routes.path == "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config"
    error = routes.error("is bad", "virtual_hosts[0]")
    assert error.path == routes.path + ".virtual_hosts[0]"
    assert manager.type_name == HCM


def test_unread_names_each_field_once_at_its_top() -> None:
    listener = view_of(LISTENER, FILTERS)
    assert listener.unread() == ["name", "filter_chains"]
    listener.text("name")
    chain = listener.messages("filter_chains")[0]
    assert listener.unread() == ["filter_chains[0].filters"]
    network_filter = chain.messages("filters")[0]
    network_filter.text("name")
    assert listener.unread() == ["filter_chains[0].filters[0].typed_config"]
    manager = network_filter.any("typed_config")
    at = "filter_chains[0].filters[0].typed_config"
    assert listener.unread() == [f"{at}.stat_prefix", f"{at}.route_config"]
    manager.text("stat_prefix")
    assert manager.message("route_config") is manager.message("route_config")
    routes = manager.message("route_config")
    assert routes is not None
    routes.text("name")
    assert listener.unread() == [f"{at}.route_config.virtual_hosts"]
    routes.accept("virtual_hosts")
    assert listener.unread() == []


def test_children_are_tracked_once() -> None:
    listener = view_of(LISTENER, FILTERS)
    first = listener.messages("filter_chains")[0]
    assert listener.messages("filter_chains")[0] is first
    network_filter = first.messages("filters")[0]
    assert network_filter.any("typed_config") is network_filter.any("typed_config")


@pytest.mark.parametrize("order", ["accept first", "accept last"])
def test_accept_goes_deep_whenever_it_is_called(order: str) -> None:
    cluster = view_of(CLUSTER, {"circuit_breakers": {"thresholds": [{"max_connections": 1}]}})
    if order == "accept first":
        cluster.accept("circuit_breakers")
        cluster.message("circuit_breakers")
    else:
        cluster.message("circuit_breakers")
        assert cluster.unread() == ["circuit_breakers.thresholds"]
        cluster.accept("circuit_breakers")
    assert cluster.unread() == []


def test_raw_and_take_count_as_read() -> None:
    cluster = view_of(CLUSTER, {"name": "a", "metadata": {"filter_metadata": {"x": {"y": 1}}}})
    raw = cluster.raw("metadata")
    assert raw is cluster.proto.metadata  # type: ignore[attr-defined]
    assert cluster.unread() == ["name"]
    assert cluster.take() is cluster.proto
    assert cluster.unread() == []


def test_has_and_which_mark_nothing() -> None:
    match = view_of("envoy.config.route.v3.RouteMatch", {"prefix": "/"})
    assert match.which("path_specifier") == "prefix"
    assert match.has("prefix")
    assert not match.has("grpc")
    assert not match.has("headers")
    assert match.unread() == ["prefix"]


def test_an_empty_message_that_is_set_counts() -> None:
    manager = view_of(HCM, {"route_config": {}, "tracing": {}})
    assert manager.unread() == ["route_config", "tracing"]


def test_any_maps() -> None:
    host = view_of(
        "envoy.config.route.v3.VirtualHost",
        {"typed_per_filter_config": {"b": {"@type": TYPE_URL + ROUTER, "dynamic_stats": False}, "a": {}}},
        "vh",
    )
    with pytest.raises(ConfigError, match="has no @type"):
        host.any_map("typed_per_filter_config")
    host = view_of(
        "envoy.config.route.v3.VirtualHost",
        {"typed_per_filter_config": {"b": {"@type": TYPE_URL + ROUTER, "dynamic_stats": False}}},
        "vh",
    )
    configs = host.any_map("typed_per_filter_config")
    assert list(configs) == ["b"]
    assert configs["b"].path == 'vh.typed_per_filter_config["b"]'
    assert host.unread() == ['vh.typed_per_filter_config["b"].dynamic_stats']


@pytest.mark.parametrize("outer", ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"])
def test_typed_structs_become_the_message_they_name(outer: str) -> None:
    tree = {
        "name": "x",
        "typed_config": {"@type": TYPE_URL + outer, "type_url": TYPE_URL + ROUTER, "value": {"dynamic_stats": False}},
    }
    extension = view_of("envoy.config.core.v3.TypedExtensionConfig", tree)
    assert extension.any_type("typed_config") == ROUTER
    router = extension.any("typed_config")
    assert router.type_name == ROUTER
    assert router.flag("dynamic_stats", True) is False
    assert extension.unread() == ["name"]


def test_typed_structs_of_unknown_types_stay() -> None:
    tree = {"typed_config": {"@type": TYPE_URL + "xds.type.v3.TypedStruct", "type_url": "a/b.C", "value": {"x": 1}}}
    extension = view_of("envoy.config.core.v3.TypedExtensionConfig", tree)
    assert extension.any_type("typed_config") == "b.C"
    struct = extension.any("typed_config")
    assert struct.type_name == "xds.type.v3.TypedStruct"
    assert struct.struct("value") == {"x": 1.0}


def test_a_typed_struct_that_does_not_fit_is_an_error() -> None:
    tree = {
        "typed_config": {
            "@type": TYPE_URL + "xds.type.v3.TypedStruct",
            "type_url": TYPE_URL + ROUTER,
            "value": {"dynamic_stats": "maybe", "nonsense": 1},
        }
    }
    extension = view_of("envoy.config.core.v3.TypedExtensionConfig", tree, "x")
    with pytest.raises(ConfigError) as caught:
        extension.any("typed_config")
    assert [error.path for error in caught.value.errors] == [
        "x.typed_config.dynamic_stats",
        "x.typed_config.nonsense",
    ]


def test_anys_that_cannot_be_unpacked() -> None:
    extension = api.new("envoy.config.core.v3.TypedExtensionConfig")
    view = View(extension, "x")
    with pytest.raises(ConfigError, match=r"x\.typed_config: is required"):
        view.any("typed_config")
    extension.typed_config.type_url = "a/no.such.Type"  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"x.typed_config: unknown type 'a/no.such.Type'"):
        View(extension, "x").any("typed_config")
    extension.typed_config.type_url = TYPE_URL + ROUTER  # type: ignore[attr-defined]
    extension.typed_config.value = b"\xff\xff"  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="does not hold a valid"):
        View(extension, "x").any("typed_config")


def test_copies_and_bytes() -> None:
    cluster = view_of(CLUSTER, {"name": "a"})
    copy = cluster.copy_proto()
    assert copy == cluster.proto and copy is not cluster.proto
    assert cluster.message_bytes() == message_of(CLUSTER, {"name": "a"}).SerializeToString()


def test_errors_find_their_line_through_the_root() -> None:
    class Lines:
        def place(self, path: str) -> tuple[str | None, int | None]:
            return "f.yaml", {"node.id": 3}.get(path)

    root = View(message_of(BOOTSTRAP, {"node": {"id": "a"}}), locator=Lines())
    node = root.message("node")
    assert node is not None
    assert str(node.error("is bad", "id")) == "f.yaml:3: node.id: is bad"
