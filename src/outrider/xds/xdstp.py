"""`xdstp://` names: what they are made of, and which of them stand for many.

Source: "xRFC TP1: new xDS transport protocol naming"; Envoy's `XdsResourceIdentifier`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from outrider.config.errors import ConfigError

SCHEME: Final = "xdstp://"
# What is escaped beside control characters and what is not ASCII.
_IN_AUTHORITY: Final = "%/?#"
_IN_ID: Final = "%:?#[]"
_IN_PARAMETER: Final = "%#[]&="


class XdstpName:
    """One name, taken apart."""

    __slots__ = ("authority", "identifier", "parameters", "type_name")

    def __init__(self, authority: str, type_name: str, identifier: str, parameters: Mapping[str, str]) -> None:
        self.authority = authority
        self.type_name = type_name
        self.identifier = identifier
        self.parameters = dict(parameters)

    def __str__(self) -> str:
        path = f"{SCHEME}{_escaped(self.authority, _IN_AUTHORITY)}/{self.type_name}/{_escaped(self.identifier, _IN_ID)}"
        pairs = sorted(
            f"{_escaped(key, _IN_PARAMETER)}={_escaped(value, _IN_PARAMETER)}" for key, value in self.parameters.items()
        )
        return f"{path}?{'&'.join(pairs)}" if pairs else path

    @property
    def is_glob(self) -> bool:
        """Whether it stands for all names of one folder."""
        return self.identifier == "*" or self.identifier.endswith("/*")

    def glob(self) -> XdstpName:
        """The name that stands for this one and its neighbours."""
        folder, slash, _ = self.identifier.rpartition("/")
        return XdstpName(self.authority, self.type_name, f"{folder}{slash}*", self.parameters)


def is_xdstp(name: str) -> bool:
    return name.startswith(SCHEME)


def parse_xdstp(name: str) -> XdstpName:
    """Take a name apart. Raises ConfigError."""
    rest, _, _ = name.partition("#")
    rest = rest.removeprefix(SCHEME)
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    type_name, second, identifier = path.partition("/")
    if not is_xdstp(name) or not slash or not type_name:
        raise ConfigError(f"Resource type missing from {'/' + path if slash else rest}", name)
    parameters: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"{query} is not a valid context", name)
        parameters[unquote(key)] = unquote(value)
    return XdstpName(unquote(authority), type_name, unquote(identifier) if second else "", parameters)


def _escaped(text: str, reserved: str) -> str:
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7E and chr(byte) not in reserved else f"%{byte:02X}" for byte in text.encode()
    )


def normal_name(name: str, context: Mapping[str, str] | None = None) -> str:
    """The form in which names are sent and compared: of `xdstp://` ones, parameters sorted. Raises ConfigError.

    `context`: parameters that collections get beside their own (`node_context_params`).
    """
    if not is_xdstp(name):
        return name
    parsed = parse_xdstp(name)
    if context and parsed.is_glob:
        parsed.parameters = {**context, **parsed.parameters}
    return str(parsed)


def glob_of(name: str) -> str | None:
    """The glob that covers an `xdstp://` name, None for any other."""
    if not is_xdstp(name):
        return None
    try:
        return str(parse_xdstp(name).glob())
    except ConfigError:
        return None
