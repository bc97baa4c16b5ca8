"""`xdstp://` names: what they are made of, and which of them stand for many.

Source: "xRFC TP1: new xDS transport protocol naming"; Envoy's `XdsResourceIdentifier`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

from outrider.config.errors import ConfigError

SCHEME: Final = "xdstp://"
# What stands for itself in an id and in a parameter.
_IN_ID: Final = "/:@!$&'()*+,;=-._~"
_IN_PARAMETER: Final = "-._~:/*!$'(),;@"


class XdstpName:
    """One name, taken apart."""

    __slots__ = ("authority", "identifier", "parameters", "type_name")

    def __init__(self, authority: str, type_name: str, identifier: str, parameters: Mapping[str, str]) -> None:
        self.authority = authority
        self.type_name = type_name
        self.identifier = identifier
        self.parameters = dict(parameters)

    def __str__(self) -> str:
        path = f"{SCHEME}{quote(self.authority, safe=_IN_ID)}/{self.type_name}/{quote(self.identifier, safe=_IN_ID)}"
        pairs = [
            f"{quote(key, safe=_IN_PARAMETER)}={quote(value, safe=_IN_PARAMETER)}"
            for key, value in sorted(self.parameters.items())
        ]
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


def normal_name(name: str) -> str:
    """The form in which names are sent and compared: of `xdstp://` ones, parameters sorted. Raises ConfigError."""
    return str(parse_xdstp(name)) if is_xdstp(name) else name


def glob_of(name: str) -> str | None:
    """The glob that covers an `xdstp://` name, None for any other."""
    if not is_xdstp(name):
        return None
    try:
        return str(parse_xdstp(name).glob())
    except ConfigError:
        return None
