"""What listeners and clusters discover (routes, scopes, virtual hosts, secrets, filters, runtime, clusters on demand): the
same sources and the same changes for Envoy and for Outrider, and what is seen from outside must be the same."""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.network.tls.pki import authority
from tests.support.control_plane import Recorder, xds_cluster
from tests.support.discovery_scene import NamedUpstream
from tests.support.ports import free_port
from tests.support.proxy_process import ProxyProcess, find_envoy

pytestmark = pytest.mark.skipif(not find_envoy(), reason="needs the real Envoy")

TYPE = "type.googleapis.com/envoy."
HCM = TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = {"name": "envoy.filters.http.router", "typed_config": {"@type": TYPE + "extensions.filters.http.router.v3.Router"}}
ROUTES = "envoy.config.route.v3.RouteConfiguration"
VIRTUAL_HOST = "envoy.config.route.v3.VirtualHost"
CLUSTER = "envoy.config.cluster.v3.Cluster"
SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"
EXTENSION = "envoy.config.core.v3.TypedExtensionConfig"
SCOPED = "envoy.config.route.v3.ScopedRouteConfiguration"
RUNTIME = "envoy.service.runtime.v3.Runtime"
# Of moments, of how long something took, or of how often a file was looked at while it was being replaced.
VOLATILE = re.compile(r"admin\.|_time|length_ms|update_duration|\.worker_|uptime|memory|main_thread|initialization")
CA = authority()
ONE, TWO = CA.issue("one", "server.test"), CA.issue("two", "server.test")


def at(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def answer(name: str, status: int, **more: Any) -> dict[str, Any]:
    """A route configuration that answers everything with a status."""
    return {"name": name, "virtual_hosts": [virtual_host("v", "*", status)], **more}


def virtual_host(name: str, domain: str, status: int) -> dict[str, Any]:
    return {"name": name, "domains": [domain], "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": status}}]}


class Scene:
    """One proxy with a folder for its sources and, if wanted, a control plane."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder / kind
        self.folder.mkdir()
        self.admin = free_port()
        self.ports: dict[str, int] = {}
        self.listeners: list[dict[str, Any]] = []
        self.clusters: list[dict[str, Any]] = []
        self.options: dict[str, Any] = {}
        self.proxy: ProxyProcess | None = None
        self.concurrency = 1
        self.seen: list[Any] = []

    # --- the configuration ---

    def source(self, name: str) -> dict[str, Any]:
        """A file that is followed."""
        path = {"path": str(self.folder / name)}
        return {"path_config_source": path, "initial_fetch_timeout": "1s", "resource_api_version": "V3"}

    def put(self, name: str, type_name: str, *trees: dict[str, Any], version: str = "1") -> None:
        """Replace a file, as one does: moved into place."""
        resources = [{"@type": "type.googleapis.com/" + type_name, **tree} for tree in trees]
        self.move(name, json.dumps({"version_info": version, "resources": resources}))

    def move(self, name: str, text: str) -> None:
        new = self.folder / "new"
        new.write_text(text)
        os.rename(new, self.folder / name)

    def listen(self, name: str, filters: list[dict[str, Any]], **more: Any) -> None:
        self.ports[name] = free_port()
        chain = {"filters": filters, **more.pop("chain", {})}
        self.listeners.append({"name": name, "address": at(self.ports[name]), "filter_chains": [chain], **more})

    def manager(self, prefix: str, routes: dict[str, Any], *filters: dict[str, Any]) -> dict[str, Any]:
        log = {"@type": TYPE + "extensions.access_loggers.file.v3.FileAccessLog", "path": str(self.folder / "log"), "log_format": {"text_format_source": {"inline_string": "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER%\n"}}}
        config = {"@type": HCM, "stat_prefix": prefix, **routes, "http_filters": [*filters, ROUTER], "access_log": [{"name": "log", "typed_config": log}]}
        return {"name": "hcm", "typed_config": config}

    def start(self) -> None:
        bootstrap = {
            "node": {"id": "the-node", "cluster": "the-cluster"},
            "admin": {"address": at(self.admin)},
            "static_resources": {"listeners": self.listeners, "clusters": self.clusters},
            **self.options,
        }
        self.proxy = ProxyProcess(
            self.kind, json.dumps(bootstrap), self.admin, self.folder, concurrency=self.concurrency
        )
        self.proxy.wait_ready()

    def stop(self) -> None:
        if self.proxy is not None:
            self.proxy.stop()

    # --- what is seen ---

    def get(self, listener: str, host: str = "a", path: str = "/", **headers: str) -> int:
        """The status of an answer, 0 for a connection that is closed without one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[listener], timeout=8)
        try:
            connection.request("GET", path, headers={"host": host, **headers})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def see(self, what: Any) -> None:
        self.seen.append(what)

    def until(self, condition: Callable[[], object], seconds: float = 8.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.kind, self.seen)
            time.sleep(0.02)

    def stat(self, name: str) -> int:
        return self.stats(re.escape(name)).get(name, 0)

    def stats(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose names hold a pattern, but for what depends on time."""
        assert self.proxy is not None
        found: dict[str, int] = {}
        for line in self.proxy.admin("/stats").body.splitlines():
            name, _, value = line.rpartition(": ")
            for key, port in self.ports.items():
                name = name.replace(f"_{port}", f"_{key}")
            if re.search(pattern, name) and not VOLATILE.search(name) and value.lstrip("-").isdigit():
                found[name] = int(value)
        return found

    def updated(self, scope: str, count: int) -> None:
        """Wait until a subscription has had so many updates, good or bad."""
        names = [f"{scope}.update_success", f"{scope}.update_rejected"]
        self.until(lambda: sum(self.stat(name) for name in names) >= count)

    def dump(self, kind: str) -> Any:
        """One message of /config_dump, without moments."""
        assert self.proxy is not None
        for config in json.loads(self.proxy.admin("/config_dump").body)["configs"]:
            if config["@type"].endswith(kind):
                return _timeless(config)
        return None

    def log(self) -> list[str]:
        time.sleep(0.1)
        return (self.folder / "log").read_text().splitlines()


def _timeless(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _timeless(value) for key, value in sorted(tree.items()) if key != "last_updated"}
    return [_timeless(each) for each in tree] if isinstance(tree, list) else tree


@pytest.fixture
def scenes(tmp_path: Path) -> Iterator[list[Scene]]:
    both = [Scene("envoy", tmp_path), Scene("outrider", tmp_path)]
    yield both
    for scene in both:
        scene.stop()


def same(scenes: list[Scene], play: Callable[[Scene], None]) -> None:
    """The same play with both; what they have seen must be equal."""
    for scene in scenes:
        play(scene)
        scene.stop()
    first, second = scenes
    for index, (theirs, ours) in enumerate(zip(first.seen, second.seen, strict=True)):
        assert ours == theirs, f"observation {index}"


# --- routes ---


def test_routes(scenes: list[Scene]) -> None:
    def play(scene: Scene) -> None:
        scene.put("r", ROUTES)
        for prefix in ("one", "two"):
            rds = {"rds": {"route_config_name": "r", "config_source": scene.source("r")}}
            scene.listen(prefix, [scene.manager(prefix, rds)])
        scene.start()
        scene.see(scene.get("one"))
        scene.put("r", ROUTES, answer("r", 201), version="v1")
        scene.updated("http.one.rds.r", 2)
        scene.see([scene.get("one"), scene.get("two")])
        for count, trees in enumerate([[answer("other", 202)], [answer("r", 202), answer("s", 202)], [{"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*", "*"]}]}]]):
            scene.put("r", ROUTES, *trees, version="bad")
            scene.updated("http.one.rds.r", 3 + count)
            scene.see(scene.get("one"))
        scene.put("r", ROUTES, answer("r", 203), version="v2")
        scene.updated("http.one.rds.r", 6)
        scene.see([scene.get("one"), scene.get("two")])
        scene.see(scene.stats("rds"))
        scene.see(scene.dump("RoutesConfigDump"))
        scene.see(scene.log())

    same(scenes, play)


def test_scoped_routes(scenes: list[Scene]) -> None:
    def scope(name: str, *key: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "key": {"fragments": [{"string_key": part} for part in key]}, **more}

    def asked(scene: Scene, listener: str) -> list[int]:
        keys = [("z,a", "k=x"), ("z,b", "j;k=y"), ("z,b", "k"), ("z", "k=x"), ("z,q", "k=x")]
        return [*(scene.get(listener, **{"x-a": a, "x-b": b}) for a, b in keys), scene.get(listener)]

    def play(scene: Scene) -> None:
        builder = {
            "fragments": [
                {"header_value_extractor": {"name": "x-a", "element_separator": ",", "index": 1}},
                {"header_value_extractor": {"name": "x-b", "element_separator": ";", "element": {"separator": "=", "key": "k"}}},
            ]
        }
        first = scope("s1", "a", "x", route_configuration=answer("r1", 201))
        listed = {"scoped_route_configurations": [first, scope("s2", "b", "y", route_configuration=answer("r2", 202))]}
        common = {"scope_key_builder": builder, "rds_config_source": scene.source("r")}
        scene.put("r", ROUTES, answer("r", 203))
        scene.put("s", SCOPED)
        scene.listen("in_place", [scene.manager("in_place", {"scoped_routes": {"name": "list", **common, "scoped_route_configurations_list": listed}})])
        scene.listen("found", [scene.manager("found", {"scoped_routes": {"name": "srds", **common, "scoped_rds": {"scoped_rds_config_source": scene.source("s")}}})])
        scene.start()
        scene.see([asked(scene, "in_place"), asked(scene, "found")])
        third = scope("s3", "b", "y", route_configuration_name="r")
        updates = [
            [first, third],
            [scope("s4", "a", "x", route_configuration_name="r")],
            [third, scope("s5", "b", "y", route_configuration_name="r")],
            [third],
            [scope("s7", "b", "y", route_configuration_name="r", on_demand=True)],
        ]
        for count, trees in enumerate(updates):
            scene.put("s", SCOPED, *trees, version=f"v{count}")
            scene.updated("http.found.scoped_rds.srds", 2 + count)
            time.sleep(0.2)
            scene.see(asked(scene, "found"))
            scene.see(scene.stats(r"scoped|\.rds\."))
            scene.see(scene.dump("ScopedRoutesConfigDump"))
        scene.see(scene.log())

    same(scenes, play)


# --- secrets ---


def secret(issued: Any, **more: Any) -> dict[str, Any]:
    chain = {"certificate_chain": {"inline_string": issued.pem}, "private_key": {"inline_string": issued.key_pem()}}
    return {"name": "cert", "tls_certificate": {**chain, **more}}


def shown(scene: Scene, listener: str) -> bytes:
    """The certificate that a client gets; empty when the connection fails."""
    import socket

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", scene.ports[listener]), timeout=5) as raw, context.wrap_socket(raw) as tls:
            return tls.getpeercert(True) or b""
    except OSError:
        return b""


def tls(side: str, common: dict[str, Any]) -> dict[str, Any]:
    kind = TYPE + f"extensions.transport_sockets.tls.v3.{side}TlsContext"
    return {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": kind, "common_tls_context": common}}


def test_secrets(scenes: list[Scene]) -> None:
    def play(scene: Scene) -> None:
        scene.put("s", SECRET)
        scene.put("ca", SECRET)
        common = {"tls_certificate_sds_secret_configs": [{"name": "cert", "sds_config": scene.source("s")}]}
        routes = {"route_config": answer("r", 200)}
        scene.listen("tls", [scene.manager("tls", routes)], chain={"transport_socket": tls("Downstream", common)})
        scene.listen("second", [scene.manager("tls", routes)], chain={"transport_socket": tls("Downstream", common)})
        validation = {"combined_validation_context": {"default_validation_context": {}, "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": scene.source("ca")}}}
        hosts = {"cluster_name": "up", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(scene.ports["tls"])}}]}]}
        scene.clusters.append({"name": "up", "type": "STATIC", "load_assignment": hosts, "transport_socket": tls("Upstream", validation)})
        away = {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}]}
        scene.listen("plain", [scene.manager("plain", {"route_config": away})])
        scene.start()
        numbers = r"sds\.|secrets_not_ready|update_by_sds|\.ssl\.certificate|ssl\.connection_error"
        scene.see([shown(scene, "tls"), scene.get("plain")])
        scene.see(scene.stats(numbers))
        scene.see(scene.dump("SecretsConfigDump"))
        scene.put("s", SECRET, secret(ONE), version="v1")
        scene.put("ca", SECRET, {"name": "ROOTCA", "validation_context": {"trusted_ca": {"inline_string": CA.pem}}}, version="v1")
        scene.updated("sds.cert", 2)
        scene.updated("sds.ROOTCA", 2)
        scene.see([shown(scene, "tls"), shown(scene, "second"), scene.get("plain")])
        scene.see(scene.dump("SecretsConfigDump"))
        bad = [
            [{**secret(ONE), "name": "other"}],
            [secret(TWO), {**secret(TWO), "name": "other"}],
            [secret(TWO, private_key={"inline_string": ONE.key_pem()})],
            [{"name": "cert", "validation_context": {"trusted_ca": {"inline_string": CA.pem}}}],
        ]
        for count, trees in enumerate(bad):
            scene.put("s", SECRET, *trees, version="bad")
            scene.updated("sds.cert", 3 + count)
            scene.see([shown(scene, "tls"), shown(scene, "second")])
        scene.put("s", SECRET, secret(TWO), version="v2")
        scene.updated("sds.cert", 7)
        scene.see([shown(scene, "tls"), shown(scene, "second"), scene.get("plain")])
        scene.see(scene.stats(numbers))
        scene.see(scene.log())

    same(scenes, play)


def test_files_of_secrets(scenes: list[Scene]) -> None:
    def play(scene: Scene) -> None:
        scene.move("chain.pem", ONE.pem)
        scene.move("key.pem", ONE.key_pem())
        names = {"certificate_chain": {"filename": str(scene.folder / "chain.pem")}, "private_key": {"filename": str(scene.folder / "key.pem")}}
        # Beside the files: what happens to it is no change of theirs.
        (scene.folder / "source").mkdir()
        scene.put("source/s", SECRET, {"name": "cert", "tls_certificate": names})
        common = {"tls_certificate_sds_secret_configs": [{"name": "cert", "sds_config": scene.source("source/s")}]}
        scene.listen("tls", [scene.manager("tls", {"route_config": answer("r", 200)})], chain={"transport_socket": tls("Downstream", common)})
        scene.start()
        scene.see(shown(scene, "tls") == ONE.der)
        scene.move("chain.pem", TWO.pem)
        scene.until(lambda: scene.stat("sds.cert.key_rotation_failed") > 0)
        scene.see(shown(scene, "tls") == ONE.der)
        scene.move("key.pem", TWO.key_pem())
        scene.until(lambda: shown(scene, "tls") == TWO.der)
        scene.see(scene.stats("sds|update_by_sds"))

    same(scenes, play)


# --- extensions ---


def test_http_filters(scenes: list[Scene]) -> None:
    def play(scene: Scene) -> None:
        types = ["type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer", TYPE + "extensions.filters.http.header_mutation.v3.HeaderMutation", TYPE + "extensions.filters.http.local_ratelimit.v3.LocalRateLimit", TYPE + "extensions.filters.http.router.v3.Router"]

        def limit(tokens: int, name: str = "f") -> dict[str, Any]:
            bucket = {"max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": "1000s"}
            every = {"default_value": {"numerator": 100}}
            return {"name": name, "typed_config": {"@type": types[2], "stat_prefix": "l", "token_bucket": bucket, "filter_enabled": every, "filter_enforced": every}}

        routes = {"route_config": answer("r", 200)}
        found = {"config_source": scene.source("f"), "type_urls": types}
        default = limit(1)["typed_config"]
        scene.put("f", EXTENSION)
        scene.listen("bare", [scene.manager("bare", routes, {"name": "f", "config_discovery": found})])
        scene.listen("default", [scene.manager("default", routes, {"name": "f", "config_discovery": {**found, "default_config": default}})])
        scene.listen("at_once", [scene.manager("at_once", routes, {"name": "f", "config_discovery": {**found, "default_config": default, "apply_default_config_without_warming": True}})])
        scene.start()
        names = ["bare", "default", "at_once"]
        scene.see([[scene.get(name) for _ in range(2)] for name in names])
        scene.see(scene.stats("extension_config"))
        updates = [[limit(2)], [limit(2, "other")], [limit(1), limit(2, "g")], [{"name": "f", "typed_config": ROUTER["typed_config"]}], [{"name": "f", "typed_config": {"@type": TYPE + "extensions.filters.http.cors.v3.Cors"}}], [limit(3)]]
        for count, trees in enumerate(updates):
            scene.put("f", EXTENSION, *trees, version=f"v{count}")
            scene.updated("extension_config_discovery.http_filter.f", 2 + count)
            time.sleep(0.1)
            scene.see([[scene.get(name) for _ in range(4)] for name in names])
            scene.see(scene.stats("extension_config"))
        scene.see(scene.dump("EcdsConfigDump"))
        # Details that are there and empty are shown in different ways.
        scene.see([line.split()[:2] for line in scene.log()])

    same(scenes, play)


def test_network_and_listener_filters(scenes: list[Scene]) -> None:
    def play(scene: Scene) -> None:
        direct = TYPE + "extensions.filters.network.rbac.v3.RBAC"
        inspector = TYPE + "extensions.filters.listener.http_inspector.v3.HttpInspector"

        def rule(action: str) -> dict[str, Any]:
            rules = {"action": action, "policies": {"all": {"permissions": [{"any": True}], "principals": [{"any": True}]}}}
            return {"name": "n", "typed_config": {"@type": direct, "stat_prefix": "x.", "rules": rules}}

        scene.put("n", EXTENSION)
        scene.put("l", EXTENSION)
        manager = scene.manager("web", {"route_config": answer("r", 200)})
        network = {"name": "n", "config_discovery": {"config_source": scene.source("n"), "type_urls": [direct]}}
        scene.listen("network", [network, manager])
        early = {"name": "l", "config_discovery": {"config_source": scene.source("l"), "type_urls": [inspector]}}
        scene.listen("listener", [manager], listener_filters=[early])
        scene.start()
        scene.see([scene.get("network"), scene.get("listener")])
        numbers = r"extension_config|downstream_cx_total|downstream_cx_active"
        scene.see(scene.stats(numbers))
        for count, action in enumerate(["ALLOW", "DENY"]):
            scene.put("n", EXTENSION, rule(action), version=f"v{count}")
            scene.updated("extension_config_discovery.network_filter.n", 2 + count)
            time.sleep(0.1)
            scene.see(scene.get("network"))
        scene.put("l", EXTENSION, {"name": "l", "typed_config": {"@type": inspector}})
        scene.updated("extension_config_discovery.tcp_listener_filter.l", 2)
        time.sleep(0.1)
        scene.see(scene.get("listener"))
        scene.see(scene.stats(r"extension_config"))
        scene.see(scene.dump("EcdsConfigDump"))

    same(scenes, play)


# --- runtime ---


def test_runtime(scenes: list[Scene]) -> None:
    def play(scene: Scene) -> None:
        scene.put("rt", RUNTIME)
        layers = [{"name": "base", "static_layer": {"a": 1, "b": "base"}}, {"name": "found", "rtds_layer": {"name": "res", "rtds_config": scene.source("rt")}}, {"name": "admin", "admin_layer": {}}]
        scene.options = {"layered_runtime": {"layers": layers}}
        by_runtime = {"match": {"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 0}, "runtime_key": "some"}}, "direct_response": {"status": 201}}
        routes = answer("r", 200)
        routes["virtual_hosts"][0]["routes"].insert(0, by_runtime)
        scene.listen("web", [scene.manager("web", {"route_config": routes})])
        scene.start()

        def look() -> None:
            assert scene.proxy is not None
            scene.see(json.loads(scene.proxy.admin("/runtime").body))
            scene.see(scene.stats(r"^runtime\."))
            scene.see(scene.get("web"))

        look()
        updates = [[{"name": "res", "layer": {"a": 2, "c": {"d": True}, "some": 100}}], [{"name": "other", "layer": {}}], [{"name": "res", "layer": {"some": 0}}]]
        for count, trees in enumerate(updates):
            scene.put("rt", RUNTIME, *trees, version=f"v{count}")
            scene.updated("runtime", 2 + count)
            time.sleep(0.1)
            look()

    same(scenes, play)


# --- on demand ---


def on_demand(**odcds: Any) -> dict[str, Any]:
    config = {"@type": TYPE + "extensions.filters.http.on_demand.v3.OnDemand", **({"odcds": odcds} if odcds else {})}
    return {"name": "envoy.filters.http.on_demand", "typed_config": config}


ADS = {"ads": {}, "resource_api_version": "V3"}


def use_ads(scene: Scene, control_plane: Recorder, api_type: str = "DELTA_GRPC") -> None:
    service = {"envoy_grpc": {"cluster_name": "xds"}}
    scene.clusters.append(xds_cluster(control_plane.port))
    scene.options = {"dynamic_resources": {"ads_config": {"api_type": api_type, "transport_api_version": "V3", "grpc_services": [service]}}}


def test_virtual_hosts_on_demand(scenes: list[Scene]) -> None:
    def play(scene: Scene) -> None:
        with Recorder() as control_plane:
            use_ads(scene, control_plane)
            control_plane.set(ROUTES, [{"name": "r", "vhds": {"config_source": {**ADS, "initial_fetch_timeout": "0.3s"}}, "virtual_hosts": [virtual_host("fixed", "fixed", 200)]}])
            # Nothing is said about hosts until later.
            control_plane.mute.add(VIRTUAL_HOST)
            control_plane.set(VIRTUAL_HOST, [virtual_host("r/one", "one", 201)])
            rds = {"rds": {"route_config_name": "r", "config_source": ADS}}
            scene.listen("on", [scene.manager("on", rds, on_demand())])
            scene.listen("off", [scene.manager("off", rds)])
            scene.start()
            scene.see([scene.get("on", "fixed"), scene.get("off", "fixed"), scene.get("off", "one")])
            control_plane.mute.clear()
            scene.see(scene.get("on", "one"))
            scene.see(scene.get("off", "one"))
            scene.see(scene.get("on", "nowhere"))
            scene.see(scene.stats(r"vhds.*(reload|rejected|failure)"))
            control_plane.update(VIRTUAL_HOST, virtual_host("r/one", "one", 202))
            scene.until(lambda: scene.get("on", "one") == 202)
            control_plane.remove(VIRTUAL_HOST, "r/one")
            scene.until(lambda: scene.get("off", "one") == 404)
            scene.see(scene.get("on", "fixed"))
            scene.see(scene.log()[:6])
            scene.see([each.summary() for each in control_plane.requests(VIRTUAL_HOST)][:4])
            scene.see(scene.dump("RoutesConfigDump"))

    same(scenes, play)


def test_clusters_on_demand(scenes: list[Scene]) -> None:
    upstream = NamedUpstream()

    def play(scene: Scene) -> None:
        with Recorder() as control_plane:
            use_ads(scene, control_plane)
            hosts = {"cluster_name": "late", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(upstream.port)}}]}]}
            control_plane.set(CLUSTER, [{"name": "late", "type": "STATIC", "connect_timeout": "1s", "load_assignment": hosts}])
            route = {"match": {"prefix": "/"}, "route": {"cluster_header": "x-cluster"}}
            routes = {"route_config": {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]}}
            scene.listen("on", [scene.manager("on", routes, on_demand(source=ADS, timeout="0.5s"))])
            scene.listen("off", [scene.manager("off", routes)])
            scene.start()
            scene.see([scene.get("off", **{"x-cluster": "late"}), scene.get("on", **{"x-cluster": "late"}), scene.get("off", **{"x-cluster": "late"})])
            scene.see([scene.get("on"), scene.get("on", **{"x-cluster": "none"})])
            control_plane.mute.add(CLUSTER)
            began = time.monotonic()
            scene.see(scene.get("on", **{"x-cluster": "slow"}))
            assert 0.4 < time.monotonic() - began < 2.5
            scene.see(scene.stats(r"odcds.*(success|rejected|failure)"))
            scene.see(scene.stats(r"cluster_manager\.(cluster_added|active_clusters)"))
            scene.see(scene.log())
            scene.see([each.summary() for each in control_plane.requests(CLUSTER)])

    try:
        same(scenes, play)
    finally:
        upstream.close()


def test_scopes_on_demand(scenes: list[Scene]) -> None:
    def play(scene: Scene) -> None:
        with Recorder() as control_plane:
            use_ads(scene, control_plane)
            builder = {"fragments": [{"header_value_extractor": {"name": "x-a", "index": 0}}]}
            lazy = {"name": "lazy", "key": {"fragments": [{"string_key": "a"}]}, "route_configuration_name": "r", "on_demand": True}
            eager = {"name": "eager", "key": {"fragments": [{"string_key": "b"}]}, "route_configuration_name": "s"}
            control_plane.set(SCOPED, [lazy, eager])
            control_plane.set(ROUTES, [answer("r", 201), answer("s", 202)])
            scoped = {"name": "srds", "scope_key_builder": builder, "rds_config_source": ADS, "scoped_rds": {"scoped_rds_config_source": ADS}}
            scene.listen("on", [scene.manager("on", {"scoped_routes": scoped}, on_demand())])
            scene.start()
            scene.see(scene.stats(r"scopes|rds\.[rs]\.config_reload"))
            scene.see([scene.get("on", **{"x-a": key}) for key in ("b", "a", "a", "c")] + [scene.get("on")])
            scene.see(scene.stats(r"scopes|rds\.[rs]\.config_reload"))
            control_plane.update(ROUTES, answer("r", 203))
            scene.until(lambda: scene.get("on", **{"x-a": "a"}) == 203)
            scene.see(scene.dump("ScopedRoutesConfigDump"))
            scene.see(scene.log()[:5])
            scene.see([each.summary() for each in control_plane.requests(ROUTES)])

    same(scenes, play)


@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"])
def test_one_stream_for_everything(scenes: list[Scene], api_type: str) -> None:
    """Secrets of a cluster and of a listener, a filter and routes over one ADS stream: requests, refusals, stats."""

    def play(scene: Scene) -> None:
        with Recorder() as control_plane:
            use_ads(scene, control_plane, api_type)
            header = TYPE + "extensions.filters.http.header_to_metadata.v3.Config"
            rule = {"header": "x", "on_header_present": {"key": "k", "type": "STRING"}}
            control_plane.set(SECRET, [secret(ONE), {"name": "ROOTCA", "validation_context": {"trusted_ca": {"inline_string": CA.pem}}}])
            control_plane.set(EXTENSION, [{"name": "f", "typed_config": {"@type": header, "request_rules": [rule]}}])
            control_plane.set(ROUTES, [answer("r", 200)])
            common = {"tls_certificate_sds_secret_configs": [{"name": "cert", "sds_config": ADS}]}
            found = {"name": "f", "config_discovery": {"config_source": ADS, "type_urls": [header]}}
            scene.listen("tls", [scene.manager("tls", {"rds": {"route_config_name": "r", "config_source": ADS}}, found)], chain={"transport_socket": tls("Downstream", common)})
            validation = {"validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": ADS}}
            hosts = {"cluster_name": "up", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(scene.ports["tls"])}}]}]}
            # By CDS: a static cluster that takes its secrets from ADS makes Envoy crash.
            scene.options["dynamic_resources"]["cds_config"] = ADS
            control_plane.set(CLUSTER, [{"name": "up", "type": "STATIC", "connect_timeout": "1s", "load_assignment": hosts, "transport_socket": tls("Upstream", validation)}])
            away = {"name": "away", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}], "validate_clusters": False}
            scene.listen("plain", [scene.manager("plain", {"route_config": away})])
            scene.start()
            scene.see([shown(scene, "tls") == ONE.der, scene.get("plain")])
            control_plane.update(SECRET, secret(TWO, private_key={"inline_string": ONE.key_pem()}))
            control_plane.wait_for(lambda: control_plane.nacks(SECRET))
            scene.see([shown(scene, "tls") == ONE.der, scene.get("plain")])
            control_plane.update(SECRET, secret(TWO))
            scene.until(lambda: shown(scene, "tls") == TWO.der)
            bad = answer("r", 201)
            bad["virtual_hosts"][0]["domains"] = ["*", "*"]
            control_plane.update(ROUTES, bad)
            control_plane.wait_for(lambda: control_plane.nacks(ROUTES))
            scene.see(scene.get("plain"))
            control_plane.update(ROUTES, answer("r", 202))
            scene.until(lambda: scene.get("plain") == 202)
            for kind in (SECRET, ROUTES, EXTENSION):
                asked = [each.message for each in control_plane.requests(kind)]
                errors = [each.error_detail.message for each in asked if each.HasField("error_detail")]
                # Ours begin with the path of the field at fault.
                scene.see([re.sub(r"^\w+\[\w+\]\S*: ", "", error) for error in errors])
            scene.see(scene.stats(r"(sds|rds|extension_config).*(success|rejected|failure|reload)|update_by_sds|not_ready"))
            for kind in ("SecretsConfigDump", "EcdsConfigDump", "RoutesConfigDump"):
                scene.see(scene.dump(kind))

    same(scenes, play)


def test_clusters_on_demand_of_tcp_proxies(scenes: list[Scene]) -> None:
    upstream = NamedUpstream()

    def play(scene: Scene) -> None:
        with Recorder() as control_plane:
            use_ads(scene, control_plane)
            hosts = {"cluster_name": "late", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(upstream.port)}}]}]}
            control_plane.set(CLUSTER, [{"name": "late", "type": "STATIC", "connect_timeout": "1s", "load_assignment": hosts}])
            log = {"@type": TYPE + "extensions.access_loggers.file.v3.FileAccessLog", "path": str(scene.folder / "log"), "log_format": {"text_format_source": {"inline_string": "%RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %UPSTREAM_CLUSTER%\n"}}}
            for name in ("late", "none", "slow"):
                found = {"odcds_config": ADS, "timeout": "0.5s"}
                config = {"@type": TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": name, "cluster": name, "on_demand": found, "access_log": [{"name": "log", "typed_config": log}]}
                scene.listen(name, [{"name": "tcp", "typed_config": config}])
            scene.start()
            scene.see([scene.get("late"), scene.get("late"), scene.get("none")])
            control_plane.mute.add(CLUSTER)
            scene.see(scene.get("slow"))
            scene.see(scene.stats(r"tcp\..*(on_demand|no_route|cx_total)"))
            scene.see(sorted(scene.log()))

    try:
        same(scenes, play)
    finally:
        upstream.close()
