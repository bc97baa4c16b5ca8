"""The types that are served, by their messages' full names: their services, and which field names a resource."""

from __future__ import annotations

from typing import Final

LISTENER: Final = "envoy.config.listener.v3.Listener"
ROUTE_CONFIGURATION: Final = "envoy.config.route.v3.RouteConfiguration"
SCOPED_ROUTE_CONFIGURATION: Final = "envoy.config.route.v3.ScopedRouteConfiguration"
VIRTUAL_HOST: Final = "envoy.config.route.v3.VirtualHost"
CLUSTER: Final = "envoy.config.cluster.v3.Cluster"
CLUSTER_LOAD_ASSIGNMENT: Final = "envoy.config.endpoint.v3.ClusterLoadAssignment"
LB_ENDPOINT: Final = "envoy.config.endpoint.v3.LbEndpoint"
SECRET: Final = "envoy.extensions.transport_sockets.tls.v3.Secret"
EXTENSION: Final = "envoy.config.core.v3.TypedExtensionConfig"
RUNTIME: Final = "envoy.service.runtime.v3.Runtime"

RESOURCE_WRAPPER: Final = "envoy.service.discovery.v3.Resource"

URL_PREFIX: Final = "type.googleapis.com/"


class ApiService:
    """How one type is asked for outside ADS: the gRPC service with its two methods, and the REST path."""

    __slots__ = ("delta", "rest_path", "service", "stream")

    def __init__(self, service: str, noun: str, rest: str) -> None:
        self.service = service
        self.stream = f"Stream{noun}"
        self.delta = f"Delta{noun}"
        # "" where the API has no REST form.
        self.rest_path = f"/v3/discovery:{rest}" if rest else ""


ADS: Final = ApiService("envoy.service.discovery.v3.AggregatedDiscoveryService", "AggregatedResources", "")

SERVICES: Final[dict[str, ApiService]] = {
    LISTENER: ApiService("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners", "listeners"),
    ROUTE_CONFIGURATION: ApiService("envoy.service.route.v3.RouteDiscoveryService", "Routes", "routes"),
    SCOPED_ROUTE_CONFIGURATION: ApiService(
        "envoy.service.route.v3.ScopedRoutesDiscoveryService", "ScopedRoutes", "scoped-routes"
    ),
    VIRTUAL_HOST: ApiService("envoy.service.route.v3.VirtualHostDiscoveryService", "VirtualHosts", ""),
    CLUSTER: ApiService("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters", "clusters"),
    CLUSTER_LOAD_ASSIGNMENT: ApiService("envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints", "endpoints"),
    SECRET: ApiService("envoy.service.secret.v3.SecretDiscoveryService", "Secrets", "secrets"),
    EXTENSION: ApiService(
        "envoy.service.extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs", "extension_configs"
    ),
    RUNTIME: ApiService("envoy.service.runtime.v3.RuntimeDiscoveryService", "Runtime", "runtime"),
}

_NAME_FIELDS: Final[dict[str, str]] = {CLUSTER_LOAD_ASSIGNMENT: "cluster_name", LB_ENDPOINT: ""}


def name_field(type_name: str) -> str:
    """The field of a message that holds the resource's name, "" where the message does not say."""
    return _NAME_FIELDS.get(type_name, "name")


def type_url(type_name: str) -> str:
    return URL_PREFIX + type_name
