"""ECDS: the configuration of a filter that comes from a config source, and may change at any time.

What arrives under a name is shared by all places that ask for it (`DiscoveredExtension`); each place builds a factory
of its own from it (`ExtensionSlot`) and serves with the default, or without any, while there is none.

Source: Envoy documentation, "Extension configuration"; `FilterConfigSubscription`, `FilterConfigProviderManagerImpl`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from outrider.config.discovered import DiscoveredResource, known_resources, pack, source_key, stamp
from outrider.config.errors import ConfigError
from outrider.config.init_manager import InitTarget
from outrider.config.subscription import CONNECTION_FAILURE, Resource
from outrider.config.view import View

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext
    from outrider.registry import ExtensionRegistry

EXTENSION: Final = "envoy.config.core.v3.TypedExtensionConfig"

HTTP_FILTER: Final = "http_filter"
NETWORK_FILTER: Final = "network_filter"
LISTENER_FILTER: Final = "tcp_listener_filter"

F = TypeVar("F")


class DiscoveredExtension(DiscoveredResource):
    """One extension's configuration from one source."""

    def __init__(self, context: FactoryContext, source: View, name: str, kind: str, key: str) -> None:
        self.dump_kind = f"ecds_{kind}"
        context = context.owned_by([])
        scope = context.root_scope.scope(f"extension_config_discovery.{kind}.{name}")
        super().__init__(context, source, EXTENSION, name, scope, key, f"FilterConfigSubscription init {name}")
        self.config_reload = scope.counter("config_reload")
        self.config_fail = scope.counter("config_fail")
        self.config_conflict = scope.counter("config_conflict")
        # What is in force; kept, for who comes later.
        self.extension: View | None = None
        self.slots: list[ExtensionSlot[Any]] = []
        self._next: View | None = None
        self._made: list[tuple[ExtensionSlot[Any], Made[Any]]] = []

    def wrong_count(self, count: int) -> str:
        return f"Unexpected number of resources in ExtensionConfigDS response: {count}"

    def wrong_name(self, name: str) -> str:
        return f"Unexpected resource name in ExtensionConfigDS response: {name}"

    def accept(self, resource: Resource) -> None:
        extension = resource.view
        extension.text("name")
        # One place that cannot use it refuses it for all.
        self._made = [(slot, slot.build(extension)) for slot in self.slots]
        self._next = extension

    def applied(self) -> None:
        self.extension = self._next
        made = self._made
        self._made = []
        for slot, each in made:
            slot.replace(each)
        self.config_reload.inc()

    def on_removed(self) -> None:
        self.extension = None
        self.packed = None
        for slot in list(self.slots):
            slot.remove()

    def on_failed(self, reason: int, error: str) -> None:
        if reason != CONNECTION_FAILURE:
            self.config_fail.inc()
        super().on_failed(reason, error)

    def show(self, dump: Any, matches: Callable[[str], bool]) -> None:
        if self.packed is None or not matches(self.name):
            return
        entry = dump.ecds_filters.add()
        entry.version_info = self.version
        pack(entry.ecds_filter, EXTENSION, self.packed)
        stamp(entry.last_updated, self.updated)


class Made(Generic[F]):
    """A factory and how to end what it has begun."""

    __slots__ = ("factory", "on_close")

    def __init__(self, factory: F | None) -> None:
        self.factory = factory
        self.on_close: list[Callable[[], None]] = []

    def close(self) -> None:
        callbacks = self.on_close
        self.on_close = []
        for callback in callbacks:
            callback()


class ExtensionSlot(Generic[F]):
    """One place in a chain whose extension is discovered: `current` is what it is made with now, None for nothing."""

    def __init__(
        self,
        view: View,
        context: FactoryContext,
        kind: str,
        registry: ExtensionRegistry[F],
        check: Callable[[F, View], None] | None = None,
    ) -> None:
        """`view` is a filter entry with `name` and `config_discovery`. `check` may refuse a factory for this place.

        Raises ConfigError.
        """
        self.name = view.text("name")
        self.context = context
        self.registry = registry
        self._check = check
        discovery = view.message("config_discovery")
        assert discovery is not None
        self._types = [_type_name(url) for url in discovery.texts("type_urls")]
        for type_name in self._types:
            if registry.find(type_name) is None:
                raise discovery.error(f"Error: no factory found for a required type URL {type_name}.", "type_urls")
        at_once = discovery.flag("apply_default_config_without_warming")
        if at_once and not discovery.has("default_config"):
            raise discovery.error(
                f"Error: filter config {self.name} applied without warming but has no default config."
            )
        self._default: Made[F] = Made(None)
        if discovery.has("default_config"):
            default = discovery.any_type("default_config")
            if registry.find(default) is None:
                raise discovery.error(
                    f"Error: cannot find filter factory {self.name} for default filter configuration with type URL "
                    f"{default}.",
                    "default_config",
                )
            self._default = self._build(discovery.any("default_config"), default)
        self._made = self._default
        self.current: F | None = self._default.factory
        source = discovery.message("config_source")
        if source is None:
            raise discovery.error(f"config_source is required for the filter {self.name}", "config_source")
        key = f"{kind}\0{source_key(self.name, source)}"
        found = known_resources(context, DiscoveredExtension).get(key)
        if found is None:
            found = DiscoveredExtension(context, source, self.name, kind, key)
        else:
            source.take()
        self.extension: DiscoveredExtension = found
        if found.extension is not None:
            try:
                self.replace(self.build(found.extension))
            except ConfigError:
                # Others can use what this place cannot.
                found.config_conflict.inc()
        found.slots.append(self)
        context.on_close.append(self.close)
        manager = context.init_manager
        if at_once and manager is not None:
            # It starts with what is built here, and nobody waits for the answer.
            found.hold(context)
            target = InitTarget("DynamicFilterConfigProviderImpl", found.start)
            target.is_ready = True
            manager.add(target)
        else:
            found.use(context)

    def build(self, extension: View) -> Made[F]:
        """What this place makes of a configuration. Raises ConfigError."""
        return self._build(extension.any("typed_config"), extension.any_type("typed_config"))

    def replace(self, made: Made[F]) -> None:
        """From now on new connections or streams use it."""
        before = self._made
        self._made = made
        self.current = made.factory
        if before is not self._default:
            before.close()

    def remove(self) -> None:
        """There is no configuration any more: back to the default."""
        self.replace(self._default)

    def close(self) -> None:
        """The chain is gone."""
        if self in self.extension.slots:
            self.extension.slots.remove(self)
        self.remove()
        self._default.close()

    def _build(self, config: View, type_name: str) -> Made[F]:
        if type_name not in self._types:
            raise ConfigError(
                f"Error: filter config has type URL {type_name} but expect {', '.join(self._types)}."
            )
        factory = self.registry.find(type_name)
        assert factory is not None
        made: Made[F] = Made(None)
        try:
            made.factory = factory(config, self.context.owned_by(made.on_close))
            if self._check is not None:
                self._check(made.factory, config)
        except ConfigError:
            made.close()
            raise
        return made


def _type_name(url: str) -> str:
    return url.rpartition("/")[2]
