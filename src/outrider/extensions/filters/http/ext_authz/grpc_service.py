"""An authorization service that speaks gRPC: `envoy.service.auth.v3.Authorization`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from outrider.config import api
from outrider.config.struct import struct_to_dict
from outrider.data import grpc_status
from outrider.extensions.filters.http.ext_authz.answer import DENIED, ERROR, OK, AuthzAnswer, Fields
from outrider.grpc.factory import grpc_client

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

SERVICE: Final = "envoy.service.auth.v3.Authorization"
METHOD: Final = "Check"
_DEFAULT_TIMEOUT_MS: Final = 200
_FORBIDDEN: Final = 403

# HeaderValueOption.HeaderAppendAction
_ADD_IF_ABSENT: Final = 1
_OVERWRITE_OR_ADD: Final = 2
_OVERWRITE: Final = 3


class GrpcAuthzService:
    """`grpc_service`, of the filter or of a route."""

    __slots__ = ("client", "timeout_ms")

    def __init__(self, view: View, context: FactoryContext) -> None:
        """Raises ConfigError."""
        timeout_ms = view.millis("timeout")
        self.timeout_ms = _DEFAULT_TIMEOUT_MS if timeout_ms is None else timeout_ms
        self.client = grpc_client(view, context)


def error_answer(status: int) -> AuthzAnswer:
    """The call itself has failed with a gRPC status."""
    answer = AuthzAnswer(ERROR)
    answer.grpc_status = status
    return answer


def read_answer(data: bytes) -> AuthzAnswer:
    """From a serialized CheckResponse."""
    response: Any = api.new("envoy.service.auth.v3.CheckResponse")
    try:
        response.ParseFromString(data)
    except DecodeError:
        return error_answer(grpc_status.INTERNAL)
    kind = response.WhichOneof("http_response")
    if response.status.code == grpc_status.OK:
        answer = AuthzAnswer(OK)
        if kind == "ok_response":
            _read_ok(answer, response.ok_response)
    else:
        answer = AuthzAnswer(DENIED, _FORBIDDEN)
        if kind == "error_response":
            answer = AuthzAnswer(ERROR)
            _read_refusal(answer, response.error_response)
        elif kind == "denied_response":
            _read_refusal(answer, response.denied_response)
    answer.grpc_status = grpc_status.OK
    if response.HasField("dynamic_metadata"):
        answer.metadata = struct_to_dict(response.dynamic_metadata)
    elif kind == "ok_response" and response.ok_response.HasField("dynamic_metadata"):
        answer.metadata = struct_to_dict(response.ok_response.dynamic_metadata)
    return answer


def _field(option: Any) -> tuple[bytes, bytes]:
    header = option.header
    return header.key.lower().encode(), header.raw_value or header.value.encode()


def _read_refusal(answer: AuthzAnswer, refusal: Any) -> None:
    if refusal.status.code:
        answer.status = refusal.status.code
    answer.body = refusal.body
    # As in Envoy, fields with `append` are for nobody.
    answer.client_set = [_field(option) for option in refusal.headers if not option.append.value]


def _read_ok(answer: AuthzAnswer, ok: Any) -> None:
    answer.joins = True
    for option in ok.headers:
        target: Fields = answer.to_append if option.append.value else answer.to_set
        target.append(_field(option))
    answer.to_remove = [name.lower().encode() for name in ok.headers_to_remove]
    for option in ok.response_headers_to_add:
        if option.HasField("append"):
            target = answer.client_add if option.append.value else answer.client_set
        elif option.append_action == _ADD_IF_ABSENT:
            target = answer.client_add_if_absent
        elif option.append_action == _OVERWRITE_OR_ADD:
            target = answer.client_set
        elif option.append_action == _OVERWRITE:
            target = answer.client_overwrite
        else:
            target = answer.client_add
        target.append(_field(option))
    answer.query_set = [(each.key.encode(), each.value.encode()) for each in ok.query_parameters_to_set]
    answer.query_remove = [each.encode() for each in ok.query_parameters_to_remove]
