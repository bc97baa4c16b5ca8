"""/config_dump: the configuration in force, as messages of `envoy.admin.v3`."""

from __future__ import annotations

from typing import Any, Final

from outrider.config import api
from outrider.config.dump import to_json_text, to_json_tree, trim
from outrider.server.admin.config_tracker import ECDS_FILTERS, MESSAGES, ROUTES, SCOPED_ROUTES, SECRETS
from outrider.server.admin.dynamic_dump import fill_clusters, fill_listeners, matches, pack, stamp
from outrider.server.admin.request import JSON, PLAIN, AdminRequest, AdminResponse
from outrider.server.admin.server_info import node_message
from outrider.server.admin.state import AdminState
from outrider.stats.policy import compile_re2

HCM: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
# As Envoy puts it before errors of this endpoint.
_NOSNIFF: Final = [("x-content-type-options", "nosniff")]


class ConfigDumpHandler:
    def __init__(self, state: AdminState) -> None:
        self.state = state

    async def config_dump(self, request: AdminRequest) -> AdminResponse:
        resource, mask, regex = request.get("resource"), request.get("mask"), request.get("name_regex")
        pattern: Any = None
        if regex is not None:
            try:
                pattern = compile_re2(regex)
            except ValueError as error:
                return AdminResponse(
                    f"INVALID_ARGUMENT: Error while parsing name_regex from {regex}: {error}", 400, PLAIN
                )
        dumps = await self._dumps(pattern, request.flag("include_eds"))
        paths = mask.split(",") if mask is not None else []
        if resource is not None:
            return self._resource(dumps, resource, paths)
        if mask is not None:
            dumps = [each for each in dumps if trim(each, paths)]
            if not dumps:
                return AdminResponse(
                    f"FieldMask {mask} could not be successfully applied to any configs.", 400, PLAIN, _NOSNIFF
                )
        return self._answer(dumps)

    def _resource(self, dumps: list[Any], resource: str, paths: list[str]) -> AdminResponse:
        for dump in dumps:
            field = dump.DESCRIPTOR.fields_by_name.get(resource)
            if field is None:
                continue
            if not field.is_repeated:
                text = f"{resource} is not a repeated field. Use ?mask={resource} to get only this field"
                return AdminResponse(text, 400, PLAIN, _NOSNIFF)
            entries = list(getattr(dump, resource))
            # The paths of a mask lead through the packed message of each entry.
            if paths and not all(trim(entry, paths) for entry in entries):
                shown = "\n".join(f'paths: "{path}"' for path in paths)
                return AdminResponse(f"FieldMask {shown}\n could not be successfully used.", 400, PLAIN, _NOSNIFF)
            return self._answer(entries)
        return AdminResponse(f"{resource} not found in config dump", 404, PLAIN, _NOSNIFF)

    @staticmethod
    def _answer(messages: list[Any]) -> AdminResponse:
        configs = [
            {"@type": f"{api.TYPE_URL_PREFIX}{each.DESCRIPTOR.full_name}", **to_json_tree(each, redact=True)}
            for each in messages
        ]
        return AdminResponse(to_json_text({"configs": configs} if configs else {}) + "\n", content_type=JSON)

    async def _dumps(self, pattern: Any, include_eds: bool) -> list[Any]:
        settings = self.state.settings
        updated = self.state.started_at_s()
        bootstrap: Any = api.new("envoy.admin.v3.BootstrapConfigDump")
        bootstrap.bootstrap.CopyFrom(settings.view.proto)
        bootstrap.bootstrap.node.CopyFrom(node_message(self.state))
        stamp(bootstrap.last_updated, updated)
        clusters: Any = api.new("envoy.admin.v3.ClustersConfigDump")
        for view in settings.clusters:
            cluster: Any = view.proto
            if matches(pattern, cluster.name):
                entry = clusters.static_clusters.add()
                pack(entry.cluster, cluster)
                stamp(entry.last_updated, updated)
        fill_clusters(clusters, self.state.dynamic_clusters(), pattern)
        listeners: Any = api.new("envoy.admin.v3.ListenersConfigDump")
        managers: list[tuple[Any, float]] = []
        for view in settings.listeners:
            listener: Any = view.proto
            managers += [(manager, updated) for manager in connection_managers(listener)]
            if matches(pattern, listener.name):
                entry = listeners.static_listeners.add()
                pack(entry.listener, listener)
                stamp(entry.last_updated, updated)
        dynamic = self.state.dynamic_listeners()
        fill_listeners(listeners, dynamic, pattern)
        for each in (*dynamic.active, *dynamic.warming, *dynamic.draining):
            managers += [(manager, each.last_updated_s) for manager in connection_managers(each.config.view.proto)]
        dumps = [bootstrap, clusters]
        dumps += [self._tracked(kind, pattern) for kind in ECDS_FILTERS if self._is_shown(kind)]
        if include_eds:
            dumps.append(self._endpoints(pattern))
        dumps.append(listeners)
        if managers or self._is_shown(ROUTES) or self._is_shown(SCOPED_ROUTES):
            dumps.append(self._tracked(SCOPED_ROUTES, pattern))
            dumps.append(self._routes(managers, pattern))
        dumps.append(self._secrets(pattern))
        return dumps

    def _is_shown(self, kind: str) -> bool:
        tracker = self.state.config_tracker
        return tracker is not None and tracker.has(kind)

    def _tracked(self, kind: str, pattern: Any) -> Any:
        """The dump of one kind, with what other parts of the server have to show."""
        dump: Any = api.new(MESSAGES[kind])
        tracker = self.state.config_tracker
        if tracker is not None:
            tracker.fill(kind, dump, lambda name: matches(pattern, name))
        return dump

    def _routes(self, managers: list[tuple[Any, float]], pattern: Any) -> Any:
        routes = self._tracked(ROUTES, pattern)
        for manager, updated in managers:
            if manager.WhichOneof("route_specifier") == "route_config" and matches(pattern, manager.route_config.name):
                entry = routes.static_route_configs.add()
                pack(entry.route_config, manager.route_config)
                stamp(entry.last_updated, updated)
        return routes

    def _secrets(self, pattern: Any) -> Any:
        secrets = self._tracked(SECRETS, pattern)
        for view in self.state.settings.secrets:
            secret: Any = view.proto
            if matches(pattern, secret.name):
                entry = secrets.static_secrets.add()
                entry.name = secret.name
                pack(entry.secret, secret)
        return secrets

    def _endpoints(self, pattern: Any) -> Any:
        endpoints: Any = api.new("envoy.admin.v3.EndpointsConfigDump")
        for dump in self.state.cluster_dumps():
            if matches(pattern, dump.name):
                kind = "dynamic" if dump.info.added_via_api else "static"
                entry = getattr(endpoints, f"{kind}_endpoint_configs").add()
                pack(entry.endpoint_config, dump.load_assignment())
        return endpoints


def connection_managers(listener: Any) -> list[Any]:
    """The HTTP connection managers of a listener, unpacked."""
    found: list[Any] = []
    chains = list(listener.filter_chains)
    if listener.HasField("default_filter_chain"):
        chains.append(listener.default_filter_chain)
    for chain in chains:
        for each in chain.filters:
            if each.typed_config.type_url.endswith(f"/{HCM}"):
                manager: Any = api.new(HCM)
                manager.ParseFromString(each.typed_config.value)
                found.append(manager)
    return found
