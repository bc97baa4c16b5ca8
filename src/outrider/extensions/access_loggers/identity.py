"""Who sends: the node of messages to log and metrics services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import outrider
from outrider.config import api
from outrider.xds.node import full_node

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext


def node_of(context: FactoryContext) -> Any:
    """The `core.v3.Node` of this process."""
    server = context.server
    node: Any = api.new("envoy.config.core.v3.Node")
    node.id = server.node_id
    node.cluster = server.node_cluster
    if server.node_region or server.node_zone or server.node_sub_zone:
        node.locality.region = server.node_region
        node.locality.zone = server.node_zone
        node.locality.sub_zone = server.node_sub_zone
    if server.node_metadata:
        node.metadata.update(server.node_metadata)
    node.user_agent_name = server.node_user_agent
    numbers = [int(part) for part in outrider.__version__.split(".")[:3] if part.isdigit()]
    if len(numbers) == 3:
        version = node.user_agent_build_version.version
        version.major_number, version.minor_number, version.patch = numbers
    return full_node(node)
