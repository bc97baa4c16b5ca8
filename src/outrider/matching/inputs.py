"""Inputs of matcher trees: what requests, responses, connections and the environment offer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from outrider.data.header_names import STATUS_TEXT_BYTES
from outrider.matching.data import DataInput, MatchingData
from outrider.matching.query_matcher import query_value
from outrider.matching.tree_loader import COMMON_INPUTS, HTTP_INPUTS, NETWORK_INPUTS
from outrider.matching.value_matcher import filter_state_text

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.header_map import HeaderMap

_HTTP = "envoy.type.matcher.v3."
_NETWORK = "envoy.extensions.matching.common_inputs.network.v3."


class HeaderInput(DataInput):
    """A header or trailer; repeated ones are joined by commas."""

    def __init__(self, name: bytes, part: str) -> None:
        self.name = name
        # request_headers, response_headers, request_trailers or response_trailers
        self.part = part

    def get(self, data: MatchingData) -> object | None:
        headers: HeaderMap | None
        if self.part == "request_headers":
            headers = data.request_headers
        elif self.part == "response_headers":
            headers = data.response_headers
        elif self.part == "request_trailers":
            headers = data.request_trailers
        else:
            headers = data.response_trailers
        return None if headers is None else headers.get_joined(self.name)

    def describe(self) -> str:
        return f"{self.part.replace('_', ' ').rstrip('s')} {self.name.decode()}"


class QueryInput(DataInput):
    """A query parameter, decoded."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def get(self, data: MatchingData) -> object | None:
        headers = data.request_headers
        value = None if headers is None else query_value(headers.path, self.name)
        return None if value is None else unquote_to_bytes(value)

    def describe(self) -> str:
        return f"query parameter {self.name.decode('utf-8', 'replace')}"


class StatusInput(DataInput):
    def get(self, data: MatchingData) -> object | None:
        headers = data.response_headers
        return None if headers is None or not 0 < headers.status < 1000 else STATUS_TEXT_BYTES[headers.status]


class StatusClassInput(DataInput):
    def get(self, data: MatchingData) -> object | None:
        headers = data.response_headers
        return None if headers is None or not 100 <= headers.status < 600 else b"%dxx" % (headers.status // 100)


class AddressInput(DataInput):
    """An IP address of the connection: destination, source or direct source."""

    def __init__(self, which: str) -> None:
        self.which = which

    def address(self, data: MatchingData) -> object | None:
        connection = data.connection
        if connection is None:
            return None
        if self.which == "destination":
            return connection.local_address
        return connection.remote_address if self.which == "source" else connection.direct_remote_address

    def get(self, data: MatchingData) -> object | None:
        connection = data.connection
        if connection is None:
            return None
        if self.which == "destination":
            address = connection.local_address
        else:
            address = connection.remote_address if self.which == "source" else connection.direct_remote_address
        return address.host_bytes if address.kind == 0 else None

    def describe(self) -> str:
        return f"{self.which} IP"


class PortInput(DataInput):
    def __init__(self, source: bool) -> None:
        self.source = source

    def get(self, data: MatchingData) -> object | None:
        connection = data.connection
        if connection is None:
            return None
        address = connection.remote_address if self.source else connection.local_address
        return b"%d" % address.port if address.kind == 0 else None

    def describe(self) -> str:
        return "source port" if self.source else "destination port"


class SourceTypeInput(DataInput):
    """`local` for connections from the same host; nothing for others."""

    def get(self, data: MatchingData) -> object | None:
        connection = data.connection
        if connection is None:
            return None
        remote = connection.remote_address
        if remote.kind != 0:
            return b"local"
        loopback = remote.host == "::1" or (not remote.is_v6 and remote.host.startswith("127."))
        return b"local" if loopback or remote.host == connection.local_address.host else None


class ServerNameInput(DataInput):
    def get(self, data: MatchingData) -> object | None:
        connection = data.connection
        return (
            None
            if connection is None or not connection.requested_server_name
            else (connection.requested_server_name.encode())
        )

    def describe(self) -> str:
        return "server name"


class TransportProtocolInput(DataInput):
    def get(self, data: MatchingData) -> object | None:
        connection = data.connection
        return (
            None
            if connection is None or not connection.transport_protocol
            else (connection.transport_protocol.encode())
        )


class ApplicationProtocolInput(DataInput):
    """ALPN protocols, each in single quotes, joined by commas."""

    def get(self, data: MatchingData) -> object | None:
        connection = data.connection
        if connection is None or not connection.application_protocols:
            return None
        return ",".join([f"'{protocol}'" for protocol in connection.application_protocols]).encode()


class FilterStateInput(DataInput):
    """The text of a filter state object, or of one of its fields."""

    def __init__(self, key: str, field: str) -> None:
        self.key = key
        self.field = field

    def get(self, data: MatchingData) -> object | None:
        value: object | None = None
        if data.stream_info is not None and data.stream_info.filter_state is not None:
            value = data.stream_info.filter_state.get(self.key)
        if value is None and data.connection is not None and data.connection.filter_state is not None:
            value = data.connection.filter_state.get(self.key)
        if value is None:
            return None
        if self.field:
            get_field = getattr(value, "field", None)
            found = None if get_field is None else get_field(self.field)
            return None if found is None else str(found).encode()
        return filter_state_text(value)


class DynamicMetadataInput(DataInput):
    """A value of the dynamic metadata: any JSON-like object, for the metadata matcher."""

    def __init__(self, filter_name: str, path: list[str]) -> None:
        self.filter = filter_name
        self.path = path

    def get(self, data: MatchingData) -> object | None:
        value: object | None = None
        if data.stream_info is not None and data.stream_info.metadata is not None:
            value = data.stream_info.metadata.get(self.filter)
        if value is None and data.connection is not None and data.connection.metadata is not None:
            value = data.connection.metadata.get(self.filter)
        for key in self.path:
            if not isinstance(value, dict):
                return None
            value = value.get(key)
        return value


class ConstantInput(DataInput):
    """A value that does not change, such as an environment variable's."""

    def __init__(self, value: bytes | None) -> None:
        self.value: bytes | None = value

    def get(self, data: MatchingData) -> object | None:
        return self.value


def _header_input(view: View, part: str) -> DataInput:
    return HeaderInput(view.text("header_name").lower().encode(), part)


@HTTP_INPUTS.register("envoy.matching.inputs.request_headers", _HTTP + "HttpRequestHeaderMatchInput")
def create_request_header(view: View, context: Any) -> DataInput:
    return _header_input(view, "request_headers")


@HTTP_INPUTS.register("envoy.matching.inputs.response_headers", _HTTP + "HttpResponseHeaderMatchInput")
def create_response_header(view: View, context: Any) -> DataInput:
    return _header_input(view, "response_headers")


@HTTP_INPUTS.register("envoy.matching.inputs.request_trailers", _HTTP + "HttpRequestTrailerMatchInput")
def create_request_trailer(view: View, context: Any) -> DataInput:
    return _header_input(view, "request_trailers")


@HTTP_INPUTS.register("envoy.matching.inputs.response_trailers", _HTTP + "HttpResponseTrailerMatchInput")
def create_response_trailer(view: View, context: Any) -> DataInput:
    return _header_input(view, "response_trailers")


@HTTP_INPUTS.register("query_params", _HTTP + "HttpRequestQueryParamMatchInput")
def create_query(view: View, context: Any) -> DataInput:
    return QueryInput(view.text("query_param").encode())


@HTTP_INPUTS.register("envoy.matching.inputs.status_code_input", _HTTP + "HttpResponseStatusCodeMatchInput")
def create_status(view: View, context: Any) -> DataInput:
    return StatusInput()


@HTTP_INPUTS.register("envoy.matching.inputs.status_code_class_input", _HTTP + "HttpResponseStatusCodeClassMatchInput")
def create_status_class(view: View, context: Any) -> DataInput:
    return StatusClassInput()


@NETWORK_INPUTS.register("envoy.matching.inputs.destination_ip", _NETWORK + "DestinationIPInput")
def create_destination_ip(view: View, context: Any) -> DataInput:
    return AddressInput("destination")


@NETWORK_INPUTS.register("envoy.matching.inputs.source_ip", _NETWORK + "SourceIPInput")
def create_source_ip(view: View, context: Any) -> DataInput:
    return AddressInput("source")


@NETWORK_INPUTS.register("envoy.matching.inputs.direct_source_ip", _NETWORK + "DirectSourceIPInput")
def create_direct_source_ip(view: View, context: Any) -> DataInput:
    return AddressInput("direct source")


@NETWORK_INPUTS.register("envoy.matching.inputs.destination_port", _NETWORK + "DestinationPortInput")
def create_destination_port(view: View, context: Any) -> DataInput:
    return PortInput(False)


@NETWORK_INPUTS.register("envoy.matching.inputs.source_port", _NETWORK + "SourcePortInput")
def create_source_port(view: View, context: Any) -> DataInput:
    return PortInput(True)


@NETWORK_INPUTS.register("envoy.matching.inputs.source_type", _NETWORK + "SourceTypeInput")
def create_source_type(view: View, context: Any) -> DataInput:
    return SourceTypeInput()


@NETWORK_INPUTS.register("envoy.matching.inputs.server_name", _NETWORK + "ServerNameInput")
def create_server_name(view: View, context: Any) -> DataInput:
    return ServerNameInput()


@NETWORK_INPUTS.register("envoy.matching.inputs.transport_protocol", _NETWORK + "TransportProtocolInput")
def create_transport_protocol(view: View, context: Any) -> DataInput:
    return TransportProtocolInput()


@NETWORK_INPUTS.register("envoy.matching.inputs.application_protocol", _NETWORK + "ApplicationProtocolInput")
def create_application_protocol(view: View, context: Any) -> DataInput:
    return ApplicationProtocolInput()


@NETWORK_INPUTS.register("envoy.matching.inputs.filter_state", _NETWORK + "FilterStateInput")
def create_filter_state(view: View, context: Any) -> DataInput:
    return FilterStateInput(view.text("key"), view.text("field"))


@NETWORK_INPUTS.register("envoy.matching.inputs.dynamic_metadata", _NETWORK + "DynamicMetadataInput")
def create_dynamic_metadata(view: View, context: Any) -> DataInput:
    return DynamicMetadataInput(view.text("filter"), [segment.text("key") for segment in view.messages("path")])


@COMMON_INPUTS.register(
    "envoy.matching.common_inputs.environment_variable",
    "envoy.extensions.matching.common_inputs.environment_variable.v3.Config",
)
def create_environment_variable(view: View, context: Any) -> DataInput:
    return ConstantInput(os.environb.get(view.text("name").encode()))
