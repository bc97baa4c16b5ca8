"""What configuration that changes looks like to those who use it: resources of one type, from whatever source.

`context.subscriptions.subscribe(...)` gives a `Subscription`. In main it is served by the config source (a gRPC stream,
REST, a file); in a worker by main, over the channel. Users do not see the difference.

Source: Envoy's `Config::Subscription` and `Config::SubscriptionCallbacks`; "xDS REST and gRPC protocol".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.stats.store import Scope

CONNECTION_FAILURE: Final = 0
"""The source cannot be reached; what is there stays. Told again for each failure."""
FETCH_TIMEOUT: Final = 1
"""`initial_fetch_timeout` has passed without an answer: go on without."""
UPDATE_REJECTED: Final = 2
"""An update was malformed before any callback saw it, or was refused; what is there stays."""


class Resource:
    """One resource as it arrived."""

    __slots__ = ("aliases", "name", "packed", "type_name", "version", "view")

    def __init__(
        self, name: str, version: str, type_name: str, packed: bytes, view: View, aliases: Sequence[str] = ()
    ) -> None:
        # `name` of the resource wrapper, or what the message itself says.
        self.name = name
        self.version = version
        # Full name of the message's type, without the URL's host.
        self.type_name = type_name
        # The message, serialized: what goes to workers and what hashes are made of.
        self.packed = packed
        # The message, unpacked, with constraints checked (but not yet that each field is honoured).
        self.view = view
        self.aliases = tuple(aliases)


class SubscriptionCallbacks:
    """Told of updates. Raising ConfigError(s) refuses the whole update: it is answered with a NACK that holds the text,
    and what was there before must still be in force."""

    def on_state(self, resources: list[Resource], version: str) -> None:
        """All resources that there are now (state of the world); of a type with partial answers (EDS, RDS, SDS): those
        that the answer holds."""
        raise NotImplementedError

    def on_delta(self, added: list[Resource], removed: list[str], version: str) -> None:
        """What is new or changed, and the names of what is gone (incremental)."""
        raise NotImplementedError

    def on_demand(self, names: list[str]) -> bool:
        """In main: a worker has asked for these on demand. True: seen to; False: the source is to be asked."""
        return False

    def on_failed(self, reason: int, error: str) -> None:
        """No update came (CONNECTION_FAILURE, FETCH_TIMEOUT) or a bad one (UPDATE_REJECTED). `error` may be empty."""


class Subscription:
    """Interest in resources of one type."""

    def start(self, names: Sequence[str] | None) -> None:
        """Begin. None: all there are (wildcard). Callbacks may be called before this returns."""
        raise NotImplementedError

    def update_interest(self, names: Sequence[str]) -> None:
        """From now on these names, not those before."""
        raise NotImplementedError

    def request_on_demand(self, names: Sequence[str]) -> None:
        """Ask for further resources once (VHDS, ODCDS)."""
        raise NotImplementedError

    def close(self) -> None:
        """The end of the interest; no callback comes after it."""
        raise NotImplementedError


class SubscriptionFactory:
    """Makes subscriptions from a `core.v3.ConfigSource`."""

    def subscribe(
        self, source: View | None, type_name: str, callbacks: SubscriptionCallbacks, scope: Scope, path_key: str = ""
    ) -> Subscription:
        """A subscription that has not been started.

        `source` None: ADS (as for `xdstp://` names without one). `scope` is where the stats of the subscription
        (`update_success`, `version`, ...) go, for example that of `cluster_manager.cds.`. Raises ConfigError: the
        source is malformed, names an unknown cluster, or is not supported.
        """
        raise NotImplementedError
