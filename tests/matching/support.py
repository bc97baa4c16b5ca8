"""Views of matcher messages from plain data."""

from __future__ import annotations

from collections.abc import Mapping

from outrider.config import api
from outrider.config.parse import Reader
from outrider.config.view import View
from outrider.data.address import ip_address
from outrider.data.header_map import RequestHeaderMap
from outrider.data.stream_info import HTTP11, ConnectionInfo, StreamInfo

TYPE = "type.googleapis.com/"


def view_of(type_name: str, tree: Mapping[str, object]) -> View:
    message = api.new(type_name)
    reader = Reader()
    reader.read(dict(tree), message)
    assert not reader.faults, [fault.text for fault in reader.faults]
    return View(message)


def headers_of(*fields: tuple[str, str], path: str = "/") -> RequestHeaderMap:
    made = RequestHeaderMap(method=b"GET", path=path.encode(), authority=b"example.com", scheme=b"http")
    for name, value in fields:
        made.add(name.encode(), value.encode("latin-1"))
    return made


def stream_info(remote: str = "10.1.2.3", local: str = "10.9.9.9") -> StreamInfo:
    return StreamInfo(ConnectionInfo(1, ip_address(local, 443), ip_address(remote, 40000)), 0, 0, HTTP11)
