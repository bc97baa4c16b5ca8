"""Makes messages and views of them from trees, for tests."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from outrider.config import api
from outrider.config.parse import Reader
from outrider.config.view import View

TYPE_URL = "type.googleapis.com/"
CLUSTER = "envoy.config.cluster.v3.Cluster"
LISTENER = "envoy.config.listener.v3.Listener"
ROUTES = "envoy.config.route.v3.RouteConfiguration"
BOOTSTRAP = "envoy.config.bootstrap.v3.Bootstrap"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"


def message_of(type_name: str, tree: dict[str, Any]) -> Message:
    """A message; every fault of the tree is an assertion."""
    message = api.new(type_name)
    reader = Reader()
    reader.read(tree, message)
    assert not reader.faults, [(fault.path, fault.text) for fault in reader.faults]
    return message


def view_of(type_name: str, tree: dict[str, Any], path: str = "") -> View:
    """A view of such a message."""
    return View(message_of(type_name, tree), path)
