"""envoy.filters.listener.proxy_protocol: takes a PROXY header off a connection and believes its addresses.

Source: Envoy documentation, "Proxy Protocol"; the protocol itself is in `network.proxy_protocol`.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from outrider.data.filter_state import FilterStateObject
from outrider.network.filter import CONTINUE, STOP
from outrider.network.listener_filter import (
    LISTENER_FILTERS,
    ListenerFilter,
    ListenerFilterChain,
    ListenerFilterFactory,
)
from outrider.network.proxy_protocol import (
    OPTIONS_KEY,
    V2_MAX,
    BadHeader,
    NeedMore,
    ProxyHeader,
    Tlv,
    TlvChoice,
    parse_v1,
    parse_v2,
    read_tlv_choice,
    version_of,
)
from outrider.stats.metrics import Counter
from outrider.stats.store import Scope

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

NAME: Final = "envoy.filters.listener.proxy_protocol"
# Filter state that holds the values of the rules, with `tlv_location: FILTER_STATE`.
TLV_KEY: Final = "envoy.network.proxy_protocol.tlv"


class VersionStats:
    """`proxy_proto.versions.v<N>.*`"""

    __slots__ = ("found", "disallowed", "error")

    def __init__(self, scope: Scope) -> None:
        self.found: Counter = scope.counter("found")
        self.disallowed: Counter = scope.counter("disallowed")
        self.error: Counter = scope.counter("error")


class ProxyProtocolStats:
    """`proxy_proto.[<stat_prefix>.]*`, and the old error counter."""

    __slots__ = ("not_found_allowed", "not_found_disallowed", "versions", "errors")

    def __init__(self, root: Scope, prefix: str) -> None:
        scope = root.scope(f"proxy_proto.{prefix}." if prefix else "proxy_proto.")
        self.not_found_allowed: Counter = scope.counter("not_found_allowed")
        self.not_found_disallowed: Counter = scope.counter("not_found_disallowed")
        self.versions = [VersionStats(scope.scope("versions.v1.")), VersionStats(scope.scope("versions.v2."))]
        self.errors: Counter = root.counter("downstream_cx_proxy_proto_error")


class TlvState(FilterStateObject):
    """Values of the rules by their keys."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def serialize_typed(self) -> object:
        return dict(self.values)

    def field(self, name: str) -> object:
        return self.values.get(name)


class Rule:
    """Where the value of one kind of extension goes."""

    __slots__ = ("kind", "namespace", "key", "base64")

    def __init__(self, kind: int, namespace: str, key: str, as_base64: bool) -> None:
        self.kind = kind
        self.namespace = namespace
        self.key = key
        self.base64 = as_base64

    def text(self, value: bytes) -> str:
        if self.base64:
            return base64.b64encode(value).decode()
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.decode("utf-8", "replace").replace("\ufffd", "!")


class ProxyProtocolSettings:
    """What the filter was configured to do."""

    def __init__(self, stats: ProxyProtocolStats) -> None:
        self.stats = stats
        self.optional: bool = False
        self.disallowed: frozenset[int] = frozenset()
        self.rules: list[Rule] = []
        self.into_filter_state: bool = False
        # Which extensions upstream connections may repeat; None: none.
        self.passed: TlvChoice | None = None


class ProxyProtocol(ListenerFilter):
    """Waits for the whole header."""

    __slots__ = ("settings", "callbacks")

    def __init__(self, settings: ProxyProtocolSettings) -> None:
        self.settings = settings
        self.callbacks: ListenerFilterChain | None = None

    def max_read_bytes(self) -> int:
        return V2_MAX + 1

    def on_accept(self, callbacks: ListenerFilterChain) -> int:
        self.callbacks = callbacks
        return STOP

    def on_data(self, data: bytes) -> int:
        settings = self.settings
        stats = settings.stats
        callbacks = self.callbacks
        assert callbacks is not None
        try:
            version = version_of(data)
        except NeedMore:
            return STOP
        if version == 0 or (settings.optional and version in settings.disallowed):
            if settings.optional:
                stats.not_found_allowed.inc()
                return CONTINUE
            stats.not_found_disallowed.inc()
            return self._refuse(callbacks)
        own = stats.versions[version - 1]
        if version in settings.disallowed:
            own.found.inc()
            own.disallowed.inc()
            return self._refuse(callbacks)
        try:
            header = parse_v1(data) if version == 1 else parse_v2(data)
        except NeedMore:
            return STOP
        except BadHeader:
            own.error.inc()
            return self._refuse(callbacks)
        own.found.inc()
        self._apply(callbacks, header)
        callbacks.consume(header.size)
        return CONTINUE

    def _refuse(self, callbacks: ListenerFilterChain) -> int:
        self.settings.stats.errors.inc()
        callbacks.reject()
        return STOP

    def _apply(self, callbacks: ListenerFilterChain, header: ProxyHeader) -> None:
        settings = self.settings
        info = callbacks.info
        for rule in settings.rules:
            for tlv in header.tlvs:
                if tlv.kind == rule.kind:
                    self._store(callbacks, rule, tlv)
                    break
        if header.source is None or header.destination is None:
            return
        info.remote_address = header.source
        info.local_address = header.destination
        passed = settings.passed
        if passed is not None:
            header.tlvs = [tlv for tlv in header.tlvs if passed.keeps(tlv)]
        else:
            header.tlvs = []
        if info.filter_state is None:
            info.filter_state = {}
        info.filter_state[OPTIONS_KEY] = header

    def _store(self, callbacks: ListenerFilterChain, rule: Rule, tlv: Tlv) -> None:
        info = callbacks.info
        text = rule.text(tlv.value)
        if self.settings.into_filter_state:
            if info.filter_state is None:
                info.filter_state = {}
            state = info.filter_state.get(TLV_KEY)
            if not isinstance(state, TlvState):
                state = TlvState()
                info.filter_state[TLV_KEY] = state
            state.values[rule.key] = text
            return
        if info.metadata is None:
            info.metadata = {}
        info.metadata.setdefault(rule.namespace, {})[rule.key] = text


class ProxyProtocolFactory(ListenerFilterFactory):
    def __init__(self, settings: ProxyProtocolSettings) -> None:
        self.settings = settings

    def create(self) -> ListenerFilter:
        return ProxyProtocol(self.settings)


@LISTENER_FILTERS.register(
    NAME, "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol", "envoy.listener.proxy_protocol"
)
def create(config: View, context: FactoryContext) -> ListenerFilterFactory:
    """Raises ConfigError."""
    settings = ProxyProtocolSettings(ProxyProtocolStats(context.root_scope, config.text("stat_prefix")))
    settings.optional = config.flag("allow_requests_without_proxy_protocol")
    settings.disallowed = frozenset(1 if name == "V1" else 2 for name in config.enums("disallowed_versions"))
    if len(settings.disallowed) == 2:
        raise config.error(
            "Proxy Protocol filter is misconfigured: all proxy protocol versions are disallowed.", "disallowed_versions"
        )
    settings.into_filter_state = config.enum("tlv_location") == "FILTER_STATE"
    settings.passed = read_tlv_choice(config.message("pass_through_tlvs"))
    for view in config.messages("rules"):
        target = view.message("on_tlv_present")
        kind = view.integer("tlv_type")
        if target is not None:
            settings.rules.append(
                Rule(
                    kind,
                    target.text("metadata_namespace") or NAME,
                    target.text("key"),
                    target.enum("value_string_encoding") == "BASE64",
                )
            )
    return ProxyProtocolFactory(settings)
