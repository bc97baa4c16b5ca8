"""One proxy with its own ports, upstreams and access log."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.parity.harness.case import Case
from tests.parity.harness.grpc import ScriptedGrpc
from tests.parity.harness.normal import Normalizer
from tests.support.certificates import CertificateAuthority
from tests.support.dns_server import DnsServer, Zone
from tests.support.ports import RefusingPort, SilentPort, free_port
from tests.support.proxy_process import ProxyProcess
from tests.support.raw_client import RawClient, Responses, Transcript
from tests.support.upstream import Answer, ScriptedUpstream, server_context

_PLACEHOLDER = re.compile(r'"?<<([a-z]+)(?::([^>]+))?>>"?')

# Which statistics are compared: those about traffic. The admin interface's own move with every look at them.
_COMPARED = re.compile(
    r"^(cluster|http|listener|vhost|dns|cluster_manager|listener_manager|runtime|main|tcp|proxy_proto"
    r"|listener_local_ratelimit|ext_authz|ratelimit)\."
)
_IGNORED = re.compile(
    # Byte counts contain the digits of x-envoy-upstream-service-time.
    r"_bytes_|^http\.admin\.|^listener\.admin\.|^main\.|\.default\.total_match_count$"
    r"|\.update_(attempt|success|no_rebuild)$|listener_manager\.worker_|http1\.dropped_headers_with_underscores_unused"
    r"|\.worker_\d+\.|^dns\.cares\.|^http\.[a-z0-9_]+\.tracing\.|\.assignment_|external\.upstream_rq_time"
)


class SideConfig:
    """What a side needs of its group."""

    def __init__(
        self, config: str, *, zones: dict[str, Zone] | None = None, arguments: tuple[str, ...] = (),
        environment: dict[str, str] | None = None, files: dict[str, str] | None = None, alpn: tuple[str, ...] = (),
    ) -> None:
        self.config = config
        self.zones = zones or {}
        self.arguments = arguments
        self.environment = environment or {}
        # Relative path -> content, placeholders allowed.
        self.files = files or {}
        self.alpn = alpn


class Side:
    """`kind` is envoy or outrider. Started by `start`, ended by `stop`."""

    def __init__(self, kind: str, config: SideConfig, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        folder.mkdir(parents=True)
        self.ports: dict[str, int] = {}
        self.upstreams: dict[str, ScriptedUpstream] = {}
        self.grpc: dict[str, ScriptedGrpc] = {}
        self.words: dict[str, str] = {str(folder): "{dir}"}
        self.dns: DnsServer | None = None
        self._config = config
        self._held: list[RefusingPort | SilentPort] = []
        self._authority: CertificateAuthority | None = None
        self._other: CertificateAuthority | None = None
        self.process: ProxyProcess | None = None
        self.log_file = folder / "access.log"
        self._log_at = 0
        self._stats_before: dict[str, int] = {}

    def start(self) -> None:
        config = self._config
        for name, content in config.files.items():
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.fill(content))
        text = self.fill(config.config)
        self.process = ProxyProcess(
            self.kind, text, self.port_of("admin"), self.folder, arguments=config.arguments,
            environment=config.environment,
        )
        self.process.wait_ready()

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()
        for upstream in self.upstreams.values():
            upstream.close()
        for server in self.grpc.values():
            server.close()
        for held in self._held:
            held.close()
        if self.dns is not None:
            self.dns.close()

    # placeholders

    def fill(self, text: str) -> str:
        return _PLACEHOLDER.sub(self._value, text)

    def port_of(self, key: str) -> int:
        """Port of a placeholder such as `port:main`, opened when first asked for."""
        port = self.ports.get(key)
        if port is not None:
            return port
        kind, _, name = key.partition(":")
        if kind in ("port", "admin"):
            port = free_port()
        elif kind in ("up", "tls"):
            upstream = ScriptedUpstream(name, None if kind == "up" else self._tls_context(name))
            self.upstreams[name] = upstream
            port = upstream.port
        elif kind == "grpc":
            self.grpc[name] = ScriptedGrpc(name)
            port = self.grpc[name].port
        elif kind in ("refused", "silent"):
            held = RefusingPort() if kind == "refused" else SilentPort()
            self._held.append(held)
            port = held.port
        elif kind == "dns":
            self.dns = DnsServer(dict(self._config.zones))
            port = self.dns.port
        else:
            raise ValueError(f"unknown placeholder {key}")
        self.ports[key] = port
        self.words[str(port)] = "{" + key + "}"
        return port

    @property
    def authority(self) -> CertificateAuthority:
        if self._authority is None:
            self._authority = CertificateAuthority(self.folder)
        return self._authority

    @property
    def _other_authority(self) -> CertificateAuthority:
        if self._other is None:
            self._other = CertificateAuthority(self.folder, "other-ca")
        return self._other

    def _tls_context(self, name: str) -> ssl.SSLContext:
        certificate, key = self.authority.issue(name, name, "127.0.0.1")
        return server_context(certificate, key, self.authority.ca_file, self._config.alpn)

    def _value(self, match: re.Match[str]) -> str:
        whole, kind, name = match[0], match[1], match[2] or ""
        if kind == "dir":
            value = str(self.folder)
        elif kind == "otherca":
            value = self._other_authority.ca_file
        elif kind == "ca":
            value = self.authority.ca_file
        elif kind in ("cert", "key"):
            value = self.authority.issue(name)[0 if kind == "cert" else 1]
        else:
            number = str(self.port_of(f"{kind}:{name}" if name else kind))
            if whole[0] == whole[-1] == '"':
                # A number: the quotes around it go.
                return number
            value = number
        return whole[: whole.index("<<")] + value + whole[whole.index(">>") + 2 :]

    # traffic

    def run_upstreams(self, answers: Sequence[Answer], by_name: Mapping[str, Sequence[Answer]] | None = None) -> None:
        """What the upstreams answer from now on."""
        for name, upstream in self.upstreams.items():
            upstream.play((by_name or {}).get(name, answers))

    def run(self, case: Case) -> Transcript:
        self.run_upstreams(case.answers, case.answers_by)
        for server in self.grpc.values():
            server.play(case.grpc)
        address = (case.address, self.port_of(f"port:{case.listener}"))
        path = self.folder / case.address
        client = RawClient(str(path) if path.exists() else address, to_head=case.to_head)
        try:
            steps = [case.send] if isinstance(case.send, bytes) else list(case.send)
            if case.responses:
                steps.append(Responses(case.responses))
            client.run(steps)
            if case.to_end:
                client.read_to_end(case.wait)
        finally:
            if not case.leaves_open:
                client.close()
        return client.transcript

    # observation

    def mark(self) -> None:
        """What is observed from now on counts."""
        self._stats_before = self.stats()
        self._log_at = len(self._log_lines())

    def new_log_lines(self) -> list[str]:
        return self._log_lines()[self._log_at :]

    def stats(self) -> dict[str, int]:
        assert self.process is not None
        values: dict[str, int] = {}
        for line in self.process.admin("/stats").body.splitlines():
            name, separator, value = line.rpartition(": ")
            if separator and value.isdigit() and _COMPARED.match(name) and not _IGNORED.search(name):
                values[name] = int(value)
        return values

    def changed_stats(self) -> dict[str, int]:
        """Changes since `mark`; gauges too."""
        before = self._stats_before
        return {name: value - before.get(name, 0) for name, value in self.stats().items() if value != before.get(name, 0)}

    def is_quiet(self) -> bool:
        """No connection or request of a client is under way."""
        active = re.compile(r"^(http|listener)\..*\.downstream_(cx|rq)_active$")
        return all(value == 0 for name, value in self.stats().items() if active.match(name))

    def normalizer(self) -> Normalizer:
        return Normalizer(self.words)

    def _log_lines(self) -> list[str]:
        try:
            return self.log_file.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []


def wait_for(condition: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
