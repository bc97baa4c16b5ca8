"""Secrets by name: those of the bootstrap, and those in files that are followed (SDS from the file system).

A file holds a DiscoveryResponse with `Secret` resources. It and the files that the secret names are looked at when a
connection begins, at most once a second: a change makes the next connections use the new secret, those that are open
keep theirs. What cannot be loaded is logged and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from outrider.config.errors import ConfigError
from outrider.config.load import LoadPolicy, load_message
from outrider.config.source import read_file
from outrider.config.support import SupportPolicy
from outrider.config.view import View

_RESPONSE: Final = "envoy.service.discovery.v3.DiscoveryResponse"
SECRET: Final = "envoy.extensions.transport_sockets.tls.v3.Secret"


class FollowedSecrets:
    """What one TLS context has read from files of secrets."""

    __slots__ = ("paths", "views", "_seen")

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.views: list[View] = []
        self._seen: tuple[tuple[int, int, int], ...] = ()

    def check_support(self) -> None:
        """Refuse fields that nobody has read: the loader looks at the bootstrap only. Raises ConfigErrors."""
        for view in self.views:
            SupportPolicy().check(view)

    def note(self) -> None:
        """The files are read as they are now."""
        self._seen = signature(self.paths)

    def changed(self) -> bool:
        """Whether one of the files has been replaced or written since `note`."""
        return bool(self.paths) and signature(self.paths) != self._seen


def find_secret(
    reference: View, secrets: Mapping[str, object], kind: str, complaint: str, followed: FollowedSecrets
) -> View:
    """What an SdsSecretConfig names: the view of its `kind`. Raises ConfigError."""
    name = reference.text("name")
    config = reference.message("sds_config")
    if config is None:
        secret = secrets.get(name)
    else:
        secret = _from_file(config, name, followed)
    found = secret.message(kind) if isinstance(secret, View) and secret.which("type") == kind else None
    if found is None:
        raise reference.error(f"{complaint}: {name}", "name")
    if config is not None:
        _follow_files(found, followed)
    return found


def _from_file(config: View, name: str, followed: FollowedSecrets) -> View | None:
    kind = config.which("config_source_specifier")
    # How long to wait for the first answer, and the version of the API: a file is there at once, and is v3.
    config.accept("initial_fetch_timeout", "resource_api_version")
    if kind == "path":
        path = config.text("path")
    elif kind == "path_config_source":
        source = config.message("path_config_source")
        assert source is not None
        path = source.text("path")
        directory = source.message("watched_directory")
        if directory is not None:
            followed.paths.add(directory.text("path"))
    else:
        raise config.error("secrets can only come from files in this version of outrider", kind)
    if not os.path.exists(path):
        raise config.error(f"paths must refer to an existing path in the system: '{path}' does not exist", kind)
    followed.paths.add(path)
    response = load_message([read_file(path)], _RESPONSE, LoadPolicy())
    for resource in response.messages("resources"):
        if resource.type_name != SECRET:
            raise ConfigError(f"holds a {resource.type_name}, not secrets", "resources", path)
        if resource.text("name") == name:
            followed.views.append(resource)
            return resource
    return None


def _follow_files(secret: View, followed: FollowedSecrets) -> None:
    for name in ("certificate_chain", "private_key", "pkcs12", "password", "ocsp_staple", "trusted_ca", "crl"):
        try:
            source = secret.message(name)
        except KeyError:
            continue
        if source is not None and source.which("specifier") == "filename":
            followed.paths.add(source.text("filename"))


def signature(paths: set[str]) -> tuple[tuple[int, int, int], ...]:
    """What changes when one of the files (or a link to it) is replaced or written."""
    found: list[tuple[int, int, int]] = []
    for path in sorted(paths):
        try:
            status = os.stat(path)
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)
