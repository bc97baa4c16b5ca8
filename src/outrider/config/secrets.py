"""Secrets by name: those of the bootstrap, and those that a config source delivers (SDS) and may change at any time.

A secret may name files; then their folders are watched, too, and a file that is moved into place is a change, as is
anything moved into `watched_directory`. Source: Envoy documentation, "Secret discovery service (SDS)"; `SdsApi`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from outrider.config.discovered import DiscoveredResource, check_node, known_resources, pack, source_key, stamp
from outrider.config.errors import ConfigError
from outrider.config.subscription import Resource
from outrider.config.view import View
from outrider.event.file_watch import FileWatch, FileWatches
from outrider.stats.metrics import Counter

if TYPE_CHECKING:
    from outrider.factory_context import FactoryContext

_log: Final = logging.getLogger("outrider.config")

SECRET: Final = "envoy.extensions.transport_sockets.tls.v3.Secret"
TLS_CERTIFICATE: Final = "tls_certificate"
VALIDATION_CONTEXT: Final = "validation_context"
SESSION_TICKET_KEYS: Final = "session_ticket_keys"
GENERIC_SECRET: Final = "generic_secret"

# In the order in which /config_dump shows them; with the name that Envoy's messages use.
_KINDS: Final = {
    TLS_CERTIFICATE: "TlsCertificateSdsApi",
    VALIDATION_CONTEXT: "CertificateValidationContextSdsApi",
    SESSION_TICKET_KEYS: "TlsSessionTicketKeysSdsApi",
    GENERIC_SECRET: "GenericSecretSdsApi",
}

# The fields of all kinds that are one data source.
_DATA_SOURCES: Final = (
    "certificate_chain", "private_key", "pkcs12", "password", "ocsp_staple", "trusted_ca", "crl", "secret",
)  # fmt: skip


class Secret:
    """A secret that somebody uses: the message of its kind, None as long as it has not come."""

    def view(self) -> View | None:
        raise NotImplementedError

    @property
    def discovered(self) -> bool:
        """Whether it may come late, and change."""
        return False


class StaticSecret(Secret):
    """One of the bootstrap's."""

    def __init__(self, view: View) -> None:
        self._view = view

    def view(self) -> View | None:
        return self._view


class DiscoveredSecret(DiscoveredResource, Secret):
    """One that a source delivers."""

    def __init__(self, context: FactoryContext, source: View, name: str, kind: str, key: str) -> None:
        context = context.owned_by([])
        scope = context.root_scope.scope(f"sds.{name}")
        super().__init__(context, source, SECRET, name, scope, key, f"SdsApi {name}")
        self.kind = kind
        self.key_rotation_failed: Counter = scope.counter("key_rotation_failed")
        self.created = time.time()
        self._view: View | None = None
        self._watches: list[FileWatch] = []
        # Contents of the files that the secret names, as they were used last.
        self._files: dict[str, bytes] = {}
        if context.config_tracker is not None and "secrets dump" not in context.singletons:
            # One for all, so that they come by kind.
            context.singletons["secrets dump"] = dump = _SecretsDump(context)
            context.config_tracker.add("secrets", dump.show)

    @property
    def discovered(self) -> bool:
        return True

    def view(self) -> View | None:
        return self._view

    def wrong_count(self, count: int) -> str:
        if not count:
            return f"Missing SDS resources for {self.name} in onConfigUpdate()"
        return (
            f"Unexpected SDS secrets length for {self.name}, number of added resources {count}, number of removed "
            "resources 0. Expected sum is 1"
        )

    def wrong_name(self, name: str) -> str:
        return f"Unexpected SDS secret (expecting {self.name}): {name}"

    def accept(self, resource: Resource) -> None:
        before = self._view
        view = resource.view.message(self.kind) if resource.view.which("type") == self.kind else None
        resource.view.text("name")
        # One of another kind is an empty one of this kind, and refused for what it lacks.
        self._view = view if view is not None else View(_empty(resource.view, self.kind))
        told: list[Callable[[], None]] = []
        try:
            for listener in list(self._listeners):
                listener()
                told.append(listener)
            if self.context.support is not None:
                self.context.support.check(resource.view)
        except ConfigError:
            self._view = before
            if before is not None:
                self._restore(told)
            raise

    def applied(self) -> None:
        self._watch_files()

    def on_released(self) -> None:
        self._forget_files()

    def show(self, dump: Any, matches: Callable[[str], bool]) -> None:
        if not matches(self.name):
            return
        ready = self.packed is not None
        entry = (dump.dynamic_active_secrets if ready else dump.dynamic_warming_secrets).add()
        entry.name = self.name
        entry.version_info = self.version if ready else "uninitialized"
        stamp(entry.last_updated, self.updated if ready else self.created)
        if self.packed is not None:
            pack(entry.secret, SECRET, self.packed)
        else:
            from outrider.config import api

            message: Any = api.new(SECRET)
            message.name = self.name
            pack(entry.secret, SECRET, message.SerializeToString())

    def _restore(self, told: list[Callable[[], None]]) -> None:
        """Some have taken what another refused: back to the old one. What it needs was there before."""
        for listener in told:
            try:
                listener()
            except ConfigError as error:
                _log.warning("sds: secret '%s': %s", self.name, error)

    # --- files ---

    def _watch_files(self) -> None:
        self._forget_files()
        view = self._view
        if view is None or self.context.dispatcher is None:
            return
        names = file_names(view)
        if not names:
            return
        self._files = _contents(names)
        # For each file, as Envoy does: `key_rotation_failed` counts that often.
        folders = [os.path.dirname(name) or "." for name in names]
        directory = view.message("watched_directory") if view.knows("watched_directory") else None
        if directory is not None:
            folders = [directory.text("path")]
        watches = _file_watches(self.context)
        for folder in folders:
            try:
                self._watches.append(watches.watch(folder, "", self._files_moved))
            except OSError as error:
                _log.warning("sds: secret '%s': cannot watch %s: %s", self.name, folder, error)

    def _forget_files(self) -> None:
        for watch in self._watches:
            watch.close()
        self._watches.clear()

    def _files_moved(self) -> None:
        if self._view is None:
            return
        files = _contents(file_names(self._view))
        if files == self._files:
            return
        try:
            self.tell()
        except ConfigError as error:
            # The others' files may follow in a moment: those in force stay.
            _log.warning("Failed to reload certificates: %s", error)
            self.key_rotation_failed.inc()
            return
        self._files = files


class _SecretsDump:
    """All discovered secrets in /config_dump."""

    def __init__(self, context: FactoryContext) -> None:
        self.context = context

    def show(self, dump: Any, matches: Callable[[str], bool]) -> None:
        secrets = known_resources(self.context, DiscoveredSecret).values()
        for kind in _KINDS:
            for secret in secrets:
                if secret.kind == kind:
                    secret.show(dump, matches)


def _empty(secret: View, kind: str) -> Any:
    """An empty message of a kind of secret."""
    return getattr(type(secret.proto)(), kind)


def _contents(names: list[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name in names:
        try:
            with open(name, "rb") as file:
                found[name] = file.read()
        except OSError:
            found[name] = b""
    return found


def _file_watches(context: FactoryContext) -> FileWatches:
    found = context.singletons.get("file_watches")
    if not isinstance(found, FileWatches):
        found = context.singletons["file_watches"] = FileWatches(context.dispatcher)
    return found


def file_names(view: View) -> list[str]:
    """The files that a secret's data sources name."""
    found: list[str] = []
    for name in _DATA_SOURCES:
        if not view.knows(name):
            continue
        source = view.message(name)
        if source is not None and source.which("specifier") == "filename":
            found.append(source.text("filename"))
    if view.knows("keys"):
        found += [each.text("filename") for each in view.messages("keys") if each.which("specifier") == "filename"]
    if view.knows("secrets"):
        sources = view.message_map("secrets").values()
        found += [each.text("filename") for each in sources if each.which("specifier") == "filename"]
    return found


def use_secret(
    reference: View, kind: str, complaint: str, context: FactoryContext, on_update: Callable[[], None]
) -> Secret:
    """What an SdsSecretConfig names. Raises ConfigError: `complaint` and its name, when the bootstrap has none such.

    `on_update` is called after each change until `context.on_close`, and may raise ConfigError to refuse it.
    """
    name = reference.text("name")
    source = reference.message("sds_config")
    if source is None:
        static = context.secrets.get(name)
        found = static.message(kind) if isinstance(static, View) and static.which("type") == kind else None
        if found is None:
            raise reference.error(f"{complaint}: {name}", "name")
        return StaticSecret(found)
    check_node(context, _KINDS[kind], source)
    key = f"{kind}\0{source_key(name, source)}"
    secret = known_resources(context, DiscoveredSecret).get(key)
    if secret is None:
        secret = DiscoveredSecret(context, source, name, kind, key)
    else:
        # The first one has looked at it.
        source.take()
    secret.use(context, on_update)
    return secret
