"""envoy.filters.http.credential_injector: puts a secret into a request's header.

Source: Envoy documentation, "Credential Injector". Credentials: `envoy.http.injected_credentials.generic`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.config.data_source import read_data_source
from outrider.config.secrets import GENERIC_SECRET, Secret, use_secret
from outrider.data.header_map import RequestHeaderMap
from outrider.http.filter import HEADERS_CONTINUE, HEADERS_STOP_ITERATION, HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector"
_GENERIC: Final = "envoy.extensions.http.injected_credentials.generic.v3.Generic"


class GenericCredential:
    """A secret's content behind a prefix. Raises ConfigError."""

    def __init__(self, view: View, context: FactoryContext) -> None:
        self.header: bytes = (view.text("header") or "authorization").lower().encode()
        self.prefix: bytes = view.text("header_value_prefix").encode()
        self.value: bytes = b""
        reference = view.message("credential")
        if reference is None:
            raise view.error("value is required", "credential")
        self.secret: Secret | None = None
        self.secret = use_secret(
            reference, GENERIC_SECRET, "Unknown static generic secret", context, self._update
        )
        self._update()

    def _update(self) -> None:
        """The secret has come or changed. Raises ConfigError."""
        view = None if self.secret is None else self.secret.view()
        source = None if view is None else view.message("secret")
        self.value = b"" if source is None else read_data_source(source).strip(b"\r\n")


class CredentialSettings:
    __slots__ = ("credential", "overwrite", "allow_without", "injected", "failed", "already_exists")

    def __init__(self, config: View, context: FactoryContext) -> None:
        held = config.message("credential")
        if held is None:
            raise config.error("value is required", "credential")
        name, type_name = held.text("name"), held.any_type("typed_config")
        if type_name != _GENERIC:
            raise held.error(
                f"Didn't find a registered implementation for '{name}' with type URL: '{type_name}'", "typed_config"
            )
        self.credential = GenericCredential(held.any("typed_config"), context)
        self.overwrite = config.flag("overwrite")
        self.allow_without = config.flag("allow_request_without_credential")
        scope = context.scope.scope("credential_injector.")
        self.injected = scope.counter("injected")
        self.failed = scope.counter("failed")
        self.already_exists = scope.counter("already_exists")


class CredentialInjector(HttpFilter):
    __slots__ = ("settings",)

    def __init__(self, settings: CredentialSettings) -> None:
        self.settings = settings

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        settings = self.settings
        credential = settings.credential
        if not settings.overwrite and headers.contains(credential.header):
            settings.already_exists.inc()
            return HEADERS_CONTINUE
        if credential.value:
            headers.remove(credential.header)
            headers.set(credential.header, credential.prefix + credential.value)
            settings.injected.inc()
            return HEADERS_CONTINUE
        settings.failed.inc()
        if settings.allow_without:
            return HEADERS_CONTINUE
        self.manager.send_local_reply(401, "Failed to inject credential.", "failed_to_inject_credential")
        return HEADERS_STOP_ITERATION


class CredentialInjectorFactory(HttpFilterFactory):
    def __init__(self, settings: CredentialSettings) -> None:
        self.settings = settings

    def create(self) -> HttpFilter:
        return CredentialInjector(self.settings)


@HTTP_FILTERS.register("envoy.filters.http.credential_injector", TYPE)
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    """Raises ConfigError."""
    return CredentialInjectorFactory(CredentialSettings(config, context))
