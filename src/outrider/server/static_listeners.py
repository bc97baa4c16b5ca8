"""The listeners of the bootstrap, in either half."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.config.errors import ConfigError, raise_all
from outrider.data.address import Address
from outrider.server.listener_entry import ListenerEntry, build_entry

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


def build_listeners(views: list[View], context: FactoryContext) -> list[ListenerEntry]:
    """Build the static listeners. Raises ConfigError(s): those of all listeners together."""
    built: list[ListenerEntry] = []
    names: dict[str, View] = {}
    addresses: set[str] = set()
    errors: list[ConfigError] = []
    for view in views:
        try:
            entry = build_entry(view, context, len(built))
            if entry.name in names:
                raise view.error(f"duplicate listener name '{entry.name}'", "name")
            names[entry.name] = view
            for settings in entry.config.sockets:
                address = settings.address.address
                if settings.place in addresses and (address.port or not address.host) and settings.bind:
                    raise view.error(duplicate_address(entry.name, address), "address")
            addresses.update(entry.addresses)
            built.append(entry)
        except ConfigError as error:
            errors += error.errors
    raise_all(errors)
    return built


def duplicate_address(name: str, address: Address) -> str:
    return (
        f"error adding listener: '{name}' has duplicate address '{address.text}' as existing listener, to check if the "
        "listener has duplicated addresses with other listeners or 'enable_reuse_port' is set to 'false' for the "
        "listener"
    )
