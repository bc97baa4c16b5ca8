"""Extensions by the type of their configuration.

A category (HTTP filters, access loggers, ...) is one `ExtensionRegistry`; its
owner makes it as a module constant, and each extension registers its factory:

    HTTP_FILTERS = ExtensionRegistry[HttpFilterFactory]("envoy.filters.http")

    @HTTP_FILTERS.register("envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors", "envoy.cors")
    def create(config: View, context: FactoryContext) -> HttpFilterFactory: ...

    factory = HTTP_FILTERS.create(filter_view, context)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from outrider.config.view import View

T = TypeVar("T")


class Extension(Generic[T]):
    """One registered factory and the names it goes by."""

    __slots__ = ("category", "factory", "legacy_names", "name", "type_name")

    def __init__(
        self,
        category: str,
        name: str,
        type_name: str | None,
        legacy_names: tuple[str, ...],
        factory: Callable[[View, Any], T],
    ) -> None:
        self.category = category
        self.name = name
        self.type_name = type_name
        self.legacy_names = legacy_names
        self.factory = factory

    def __repr__(self) -> str:
        return f"<Extension {self.category} {self.name}>"


class ExtensionRegistry(Generic[T]):
    """The factories of one category.

    The category's name is the one that Envoy's `/server_info` shows for it.
    """

    __slots__ = ("_by_name", "_by_type", "_extensions", "category")

    def __init__(self, category: str) -> None:
        self.category = category
        self._by_type: dict[str, Extension[T]] = {}
        self._by_name: dict[str, Extension[T]] = {}
        self._extensions: list[Extension[T]] = []
        if category in CATEGORIES:
            raise ValueError(f"category {category} is registered twice")
        CATEGORIES[category] = self

    def register(
        self, name: str, type_name: str | None, *legacy_names: str
    ) -> Callable[[Callable[[View, Any], T]], Callable[[View, Any], T]]:
        """Decorator for a factory function `(config, context)`.

        `type_name` is the full name of its configuration message, None for an
        extension that is only ever found by name. `legacy_names` are those
        that older Envoy versions knew it by. A factory with several types is
        registered once for each; its name then finds the first.
        """

        def add(factory: Callable[[View, Any], T]) -> Callable[[View, Any], T]:
            extension = Extension(self.category, name, type_name, legacy_names, factory)
            if type_name is not None and self._by_type.setdefault(type_name, extension) is not extension:
                raise ValueError(f"{self.category}: {type_name} is registered twice")
            for known_as in (name, *legacy_names):
                self._by_name.setdefault(known_as, extension)
            self._extensions.append(extension)
            return factory

        return add

    def find(self, config: View | str) -> Callable[[View, Any], T] | None:
        """The factory for a configuration message, or for the full name of its type."""
        extension = self._by_type.get(config if isinstance(config, str) else config.type_name)
        return extension.factory if extension is not None else None

    def find_by_name(self, name: str) -> Extension[T] | None:
        """The extension of that registered or older name."""
        return self._by_name.get(name)

    def disable(self, name: str) -> bool:
        """Forget an extension (`--disable-extensions`), so that configuration cannot name it. False: not known."""
        extension = self._by_name.get(name)
        if extension is None:
            return False
        self._by_type = {key: each for key, each in self._by_type.items() if each.name != extension.name}
        self._by_name = {key: each for key, each in self._by_name.items() if each.name != extension.name}
        return True

    def all(self) -> list[Extension[T]]:
        """Every extension of the category, in the order of registration."""
        return list(self._extensions)

    def create(self, extension: View, context: Any) -> T:
        """Make what a message with `name` and `typed_config` asks for.

        The type of the configuration decides, as in Envoy, not the name. A
        message with a name alone, or an empty typed_config (as v1.16 allowed),
        gets an empty configuration and a warning. Raises ConfigError for a type
        or name that is not registered, and whatever the factory raises.
        """
        # A few messages have a typed_config only (`RequestIDExtension`).
        name = extension.text("name") if extension.knows("name") else ""
        type_name = extension.any_type("typed_config")
        if not type_name:
            return self._create_by_name(extension, name, context)
        factory = self.find(type_name)
        if factory is None:
            raise extension.error(
                f"Didn't find a registered implementation for '{name}' with type URL: '{type_name}'", "typed_config"
            )
        return factory(extension.any("typed_config"), context)

    def _create_by_name(self, extension: View, name: str, context: Any) -> T:
        if extension.has("typed_config"):
            extension.accept("typed_config")
        found = self._by_name.get(name)
        if found is None:
            raise extension.error(f"Didn't find a registered implementation for name: '{name}'", "name")
        if found.type_name is None:
            return found.factory(extension, context)
        extension.outdated(f"'{name}' without typed_config: an empty {found.type_name} is used", "name")
        return found.factory(extension.empty(found.type_name, "typed_config"), context)


CATEGORIES: Final[dict[str, ExtensionRegistry[Any]]] = {}
"""Every category that was made, by its name: what `/server_info` lists."""
