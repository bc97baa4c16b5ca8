"""What the bootstrap says about the process itself: node, admin, flush, watchdogs, limits, log format.

Fields that no one reads here or elsewhere are refused by their path when everything has been built.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from outrider.cel.attributes import describe_node
from outrider.config import api
from outrider.config.runtime import Runtime
from outrider.config.runtime_layers import Layer, build_layers
from outrider.config.stats_config import StatsConfig
from outrider.config.view import View
from outrider.extensions.all_extensions import load_extensions
from outrider.factory_context import ServerInfo
from outrider.network.address_config import SocketAddressConfig, read_bind_address, read_socket_options
from outrider.network.listen_socket import ListenSocketSettings
from outrider.overload.monitor import MonitorContext
from outrider.overload.settings import OverloadSettings
from outrider.server.bootstrap_extensions import BOOTSTRAP_EXTENSIONS
from outrider.server.version import build_version

if TYPE_CHECKING:
    from outrider.server.options import Options

DEFAULT_FLUSH_INTERVAL_MS: Final = 5000
GOOGLE_RE2: Final = "envoy.extensions.regex_engines.v3.GoogleRE2"


class Watchdog:
    """When a loop that does not turn is counted, and when its worker is killed; milliseconds, 0 = never."""

    __slots__ = ("miss_ms", "megamiss_ms", "kill_ms")

    def __init__(self, view: View | None) -> None:
        miss = view.millis("miss_timeout") if view is not None else None
        megamiss = view.millis("megamiss_timeout") if view is not None else None
        kill = view.millis("kill_timeout") if view is not None else None
        self.miss_ms: int = 200 if miss is None else miss
        self.megamiss_ms: int = 1000 if megamiss is None else megamiss
        self.kill_ms: int = 0 if kill is None else kill


class AdminSettings:
    """`bootstrap.admin`."""

    def __init__(self, view: View) -> None:
        """Raises ConfigError."""
        self.view = view
        address = view.message("address")
        self.address: SocketAddressConfig | None = read_bind_address(address) if address is not None else None
        self.socket_settings: ListenSocketSettings | None = None
        options = read_socket_options(view.messages("socket_options"))
        if self.address is not None:
            self.socket_settings = ListenSocketSettings(self.address)
            self.socket_settings.reuse_port = False
            self.socket_settings.options = options
        self.profile_path: str = view.text("profile_path") or "/var/log/envoy/envoy.prof"
        self.ignore_global_limit: bool = view.flag("ignore_global_conn_limit")
        self.access_log_path: str = view.text("access_log_path")
        self.access_logs: list[View] = view.messages("access_log")
        # String matchers of the paths that are served; empty: all.
        self.allow_paths: list[View] = view.messages("allow_paths")


class BootstrapSettings:
    """The bootstrap, read."""

    def __init__(self, view: View, options: Options) -> None:
        """Raises ConfigError."""
        self.view = view
        self.node: Any = read_node(view, options)
        self.stats: StatsConfig = StatsConfig.from_view(view.message("stats_config"), options.stats_tags)
        self.flush_on_admin: bool = view.flag("stats_flush_on_admin")
        interval = view.millis("stats_flush_interval")
        if interval is not None and view.has("stats_flush_on_admin"):
            raise view.error("Only one of stats_flush_interval or stats_flush_on_admin should be set!")
        self.flush_interval_ms: int = DEFAULT_FLUSH_INTERVAL_MS if interval is None else interval
        self.stats_sinks: list[View] = view.messages("stats_sinks")
        admin = view.message("admin")
        self.admin: AdminSettings | None = AdminSettings(admin) if admin is not None else None
        self.runtime_layers: list[Layer] = build_layers(view.message("layered_runtime"), self.node.cluster)
        self.main_watchdog, self.worker_watchdog = read_watchdogs(view)
        tracing = view.message("tracing")
        # The tracer of connection managers that name none; checked when one of them traces, as in Envoy.
        self.tracing_provider: View | None = tracing.message("http") if tracing is not None else None
        if self.tracing_provider is not None:
            self.tracing_provider.accept("name", "typed_config")
        deferred = view.message("deferred_stat_options")
        self.defers_stats: bool = deferred is not None and deferred.flag("enable_deferred_creation_stats")
        load_extensions()
        self.extensions: list[object] = [
            BOOTSTRAP_EXTENSIONS.create(each, None) for each in view.messages("bootstrap_extensions")
        ]
        self.overload = OverloadSettings(view.message("overload_manager"), MonitorContext(Runtime()))
        self.max_downstream_connections: int | None = self.overload.connection_limit
        resources = view.message("static_resources")
        self.listeners: list[View] = resources.messages("listeners") if resources is not None else []
        self.clusters: list[View] = resources.messages("clusters") if resources is not None else []
        self.secrets: list[View] = resources.messages("secrets") if resources is not None else []
        dynamic = view.message("dynamic_resources")
        self.lds_config: View | None = dynamic.message("lds_config") if dynamic is not None else None
        self.cds_config: View | None = dynamic.message("cds_config") if dynamic is not None else None
        self.ads_config: View | None = dynamic.message("ads_config") if dynamic is not None else None
        self.lds_locator: str = _read_locator(dynamic, "lds_resources_locator", "Listener")
        self.cds_locator: str = _read_locator(dynamic, "cds_resources_locator", "Cluster")
        # Of `xdstp://` authorities.
        self.config_sources: list[View] = view.messages("config_sources")
        self.default_config_source: View | None = view.message("default_config_source")
        self.node_context_params: list[str] = view.texts("node_context_params")
        cluster_manager = view.message("cluster_manager")
        if cluster_manager is not None:
            # When workers make their part of a cluster; nothing that serves differs by it. Ours make it at once.
            cluster_manager.accept("enable_deferred_cluster_creation")
        self.local_cluster_name: str = (
            cluster_manager.text("local_cluster_name") if cluster_manager is not None else ""
        )
        self.upstream_bind: View | None = (
            cluster_manager.message("upstream_bind_config") if cluster_manager is not None else None
        )
        self.load_stats_config: View | None = (
            cluster_manager.message("load_stats_config") if cluster_manager is not None else None
        )
        outliers = cluster_manager.message("outlier_detection") if cluster_manager is not None else None
        self.outlier_log_path: str = outliers.text("event_log_path") if outliers is not None else ""
        # The typed form wins over the older one, as in Envoy.
        self.dns_resolver: View | None = view.message("typed_dns_resolver_config") or view.message(
            "dns_resolution_config"
        )
        self.version_override: int | None = (
            view.integer("stats_server_version_override") if view.has("stats_server_version_override") else None
        )
        self.worker_cpu_affinity: bool = view.flag("enable_worker_cpu_affinity")
        self.flags_path: str = view.text("flags_path")
        self.log_format: object = read_log_format(view)
        accept_fixed(view)

    def server_info(self, options: Options) -> ServerInfo:
        """What factories may know of this process."""
        info = ServerInfo()
        node = self.node
        info.node_id = node.id
        info.node_cluster = node.cluster
        info.node_zone = node.locality.zone
        info.node_region = node.locality.region
        info.node_sub_zone = node.locality.sub_zone
        info.node_metadata = _plain_struct(node.metadata)
        describe_node(
            {
                "id": node.id,
                "cluster": node.cluster,
                "metadata": info.node_metadata,
                "locality": {
                    "region": node.locality.region, "zone": node.locality.zone, "sub_zone": node.locality.sub_zone,
                },
                "user_agent_name": node.user_agent_name,
            }
        )  # fmt: skip
        info.node_user_agent = node.user_agent_name
        info.hostname = os.uname().nodename
        info.drain_time_s = float(options.drain_time_s)
        info.drain_gradual = options.drain_strategy == "gradual"
        return info


def _read_locator(dynamic: View | None, field: str, noun: str) -> str:
    """The `xdstp://` collection that listeners or clusters come from; empty for none. Raises ConfigError."""
    locator = dynamic.text(field) if dynamic is not None else ""
    if locator and dynamic is not None:
        scheme, _, rest = locator.partition("://")
        if scheme != "xdstp":
            raise dynamic.error(f"{locator} does not have a xdstp:, http: or file: scheme", field)
        kind = rest.partition("/")[2].partition("/")[0]
        if not kind.endswith(f".{noun}"):
            raise dynamic.error(f"{locator} is not the name of a collection of {noun}s", field)
    return locator


def _plain_struct(struct: Any) -> dict[str, object]:
    from outrider.config.struct import struct_to_dict

    return struct_to_dict(struct)


def read_node(view: View, options: Options) -> Any:
    """`node` with what the command line and the program itself add; a message of type Node."""
    node: Any = api.new("envoy.config.core.v3.Node")
    if view.has("node"):
        # Shown, logged and sent as it is.
        node.CopyFrom(view.raw("node"))
    if options.service_node:
        node.id = options.service_node
    if options.service_cluster:
        node.cluster = options.service_cluster
    if options.service_zone:
        node.locality.zone = options.service_zone
    if not node.user_agent_name:
        node.user_agent_name = "envoy"
    if not node.HasField("user_agent_build_version"):
        version = build_version()
        numbers: Any = version["version"]
        node.user_agent_build_version.version.major_number = numbers["major_number"]
        node.user_agent_build_version.version.minor_number = numbers["minor_number"]
        node.user_agent_build_version.version.patch = numbers["patch"]
        metadata: Any = version["metadata"]
        for key, text in metadata.items():
            node.user_agent_build_version.metadata.fields[key].string_value = text
    return node


def read_watchdogs(view: View) -> tuple[Watchdog, Watchdog]:
    """Main's and the workers'."""
    old = view.message("watchdog")
    both = view.message("watchdogs")
    if old is not None and both is not None:
        raise view.error("Only one of watchdog or watchdogs should be set!", "watchdog")
    if both is not None:
        return Watchdog(both.message("main_thread_watchdog")), Watchdog(both.message("worker_watchdog"))
    return Watchdog(old), Watchdog(old)


def read_log_format(view: View) -> object:
    """`application_log_config.log_format`: a text pattern (str), a JSON template (dict), or None."""
    config = view.message("application_log_config")
    log_format = config.message("log_format") if config is not None else None
    if log_format is None:
        return None
    if log_format.which("log_format") == "json_format":
        return log_format.struct("json_format")
    return log_format.text("text_format")


def accept_fixed(view: View) -> None:
    """Settings with only one value that we serve: the value is checked, others are refused."""
    engine = view.message("default_regex_engine")
    if engine is not None:
        if engine.any_type("typed_config") != GOOGLE_RE2:
            raise engine.error(
                f"Didn't find a registered implementation for '{engine.text('name')}' with type URL: "
                f"'{engine.any_type('typed_config')}'"
            )
        engine.accept("name")
        engine.any("typed_config")
    if view.text("default_socket_interface") not in (
        "",
        "envoy.extensions.network.socket_interface.default_socket_interface",
    ):
        raise view.error("socket interface is not supported by this version of outrider", "default_socket_interface")
    if not view.flag("enable_dispatcher_stats"):
        return
    raise view.error("dispatcher stats are not supported by this version of outrider", "enable_dispatcher_stats")
