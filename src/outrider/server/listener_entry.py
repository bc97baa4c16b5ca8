"""One listener in a half: its configuration, its drain decision and, in main, its sockets."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, Final

from outrider.config import api
from outrider.config.init_manager import InitManager
from outrider.config.view import View
from outrider.network.filter_chain import FilterChain
from outrider.network.listen_socket import ListenSocket
from outrider.network.listener_config import ListenerConfig
from outrider.server.drain import ListenerDrain

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext

LISTENER: Final = "envoy.config.listener.v3.Listener"

# What may change in an update that keeps sockets and connections.
_CHAIN_FIELDS: Final = ("filter_chains", "default_filter_chain", "filter_chain_matcher")
_numbers = itertools.count()


class ListenerEntry:
    """A listener that serves, warms or drains. `number` identifies it in all processes; static ones count from 0."""

    __slots__ = (
        "added_via_api", "config", "drain", "in_place", "init_manager", "last_updated_s", "number", "packed", "sockets",
        "stopped", "version_info",
    )  # fmt: skip

    def __init__(self, number: int, config: ListenerConfig, drain: ListenerDrain) -> None:
        self.number = number
        self.config = config
        self.drain = drain
        # The rest is for main only.
        self.sockets: list[ListenSocket] = []
        self.stopped = False
        self.packed = b""
        self.version_info = ""
        self.added_via_api = False
        self.last_updated_s = time.time()
        # It replaces only the filter chains of the active listener of its name.
        self.in_place = False
        # Of a listener that came when the server was up already.
        self.init_manager: InitManager | None = None

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def inbound(self) -> bool:
        return self.config.direction == "INBOUND"

    @property
    def addresses(self) -> list[str]:
        """Those that are bound."""
        return [settings.place for settings in self.config.sockets if settings.bind]

    def blocks(self, packed: bytes) -> bool:
        """Whether an update changes nothing, or may not: static listeners stay as they are."""
        return not self.added_via_api or packed == self.packed

    def release(self) -> None:
        """Let go of the sockets and of everything else."""
        for opened in self.sockets:
            opened.holders -= 1
        self.sockets = []
        self.config.close()

    def __repr__(self) -> str:
        return f"<ListenerEntry {self.number} {self.name}>"


def build_entry(
    view: View,
    context: FactoryContext,
    number: int,
    drain: ListenerDrain | None = None,
    known: dict[bytes, FilterChain] | None = None,
) -> ListenerEntry:
    """Build a listener. `drain` and `known` filter chains are those of the listener that is updated in place.

    Raises ConfigError.
    """
    if drain is None:
        drain = ListenerDrain(context.server, view.enum("drain_type"))
    narrowed = context.with_scope(context.scope)
    narrowed.drain_decision = drain
    return ListenerEntry(number, ListenerConfig(view, narrowed, False, drain.for_chain, known), drain)


def chains_by_message(config: ListenerConfig) -> dict[bytes, FilterChain]:
    return {chain.packed: chain for chain in config.chains}


def split_chains(old: ListenerConfig, new: ListenerConfig) -> list[FilterChain]:
    """After an update in place: the chains that the new configuration has not taken over. The old one keeps them."""
    kept = set(map(id, new.chains))
    dropped = [chain for chain in old.chains if id(chain) not in kept]
    old.chains = dropped
    return dropped


def differs_in_chains_only(one: View, other: View) -> bool:
    return _without_chains(one) == _without_chains(other)


def _without_chains(view: View) -> bytes:
    copy: Any = view.copy_proto()
    for field in _CHAIN_FIELDS:
        copy.ClearField(field)
    packed: bytes = copy.SerializeToString(deterministic=True)
    return packed


def unpack_listener(packed: bytes) -> View:
    message = api.new(LISTENER)
    message.ParseFromString(packed)
    return View(message)


def next_number() -> int:
    """Of a dynamic listener; far above those of static ones."""
    return 1_000_000 + next(_numbers)
