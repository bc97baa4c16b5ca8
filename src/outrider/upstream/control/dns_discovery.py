"""Hosts from names: every address a host (STRICT_DNS), or all addresses one host (LOGICAL_DNS)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from outrider.data.address import Address
from outrider.network.dns.resolver import FAILURE, DnsAnswer, DnsQuery, DnsResolver
from outrider.upstream.config.dns_settings import DnsSettings
from outrider.upstream.config.endpoints import EndpointConfig
from outrider.upstream.control.control_host import ControlHost
from outrider.upstream.control.discovery import Discovery, check_address, host_for, order_addresses

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from outrider.event.dispatcher import Dispatcher
    from outrider.upstream.control.cluster_control import ClusterControl


class DnsTarget:
    """One name, resolved again and again."""

    def __init__(
        self, owner: DnsDiscovery, config: EndpointConfig, settings: DnsSettings, resolver: DnsResolver
    ) -> None:
        self.owner = owner
        self.config = config
        self.settings = settings
        self.resolver = resolver
        self.addresses: list[str] = []
        # A first answer (or failure) has come.
        self.answered: bool = False
        self.succeeded: bool = False
        self._query: DnsQuery | None = None
        self._timer: TimerHandle | None = None
        self._failure_step_ms: int = 0

    def start(self) -> None:
        self._timer = None
        literal = self.config.address.literal()
        if literal is not None:
            # Nothing to resolve, now or later.
            self.answered = self.succeeded = True
            self.addresses = [literal.host]
            self.owner.control.count_matches(self.config, 1)
            self.owner.control.info.stats.update_attempt.inc()
            self.owner.control.info.stats.update_success.inc()
            self.owner.on_answer(self, True)
            return
        self.owner.control.info.stats.update_attempt.inc()
        self._query = self.resolver.resolve(self.config.address.host, self.settings.family, self._on_answer)

    def stop(self) -> None:
        if self._query is not None:
            self._query.cancel()
            self._query = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_answer(self, answer: DnsAnswer) -> None:
        self._query = None
        stats = self.owner.control.info.stats
        settings = self.settings
        # A logical host without an address is no host at all.
        failed = answer.status == FAILURE or (settings.single_endpoint and not answer.addresses)
        if failed:
            stats.update_failure.inc()
            delay = self._failure_delay()
        else:
            stats.update_success.inc()
            self.succeeded = True
            self._failure_step_ms = 0
            delay = settings.refresh_ms
            if settings.respect_ttl and answer.addresses:
                ttl = min(ttl for _, ttl in answer.addresses)
                if ttl:
                    delay = max(ttl * 1000, settings.min_refresh_ms)
            if settings.jitter_ms:
                delay += random.randrange(settings.jitter_ms)
            found: list[str] = []
            for address, _ in answer.addresses:
                if address not in found:
                    found.append(address)
            # Envoy makes its hosts anew for each answer, and counts their transport socket matches.
            self.owner.control.count_matches(self.config, 1 if settings.single_endpoint else len(found))
            changed = found != self.addresses if settings.single_endpoint else set(found) != set(self.addresses)
            if changed:
                self.addresses = found
            if not changed and self.answered:
                stats.update_no_rebuild.inc()
            self.answered = True
            self.owner.on_answer(self, changed)
            self._schedule(delay)
            return
        self.answered = True
        self.owner.on_answer(self, False)
        self._schedule(delay)

    def _schedule(self, delay_ms: int) -> None:
        self._timer = self.owner.dispatcher.call_later(delay_ms / 1000, self.start)

    def _failure_delay(self) -> int:
        """Exponential back-off with full jitter between the configured bounds, else the ordinary rate."""
        settings = self.settings
        if not settings.failure_base_ms:
            return settings.refresh_ms
        step = self._failure_step_ms or settings.failure_base_ms
        self._failure_step_ms = min(step * 2, settings.failure_max_ms)
        return max(1, min(random.randrange(step) + 1, settings.failure_max_ms))


class DnsDiscovery(Discovery):
    """What both kinds share."""

    def __init__(self, control: ClusterControl, resolver: DnsResolver, dispatcher: Dispatcher) -> None:
        self.control = control
        self.dispatcher = dispatcher
        settings = control.info.config.dns
        assert settings is not None
        self.settings = settings
        self.targets = [
            DnsTarget(self, config, settings, resolver) for config in control.info.config.assignment.endpoints
        ]

    def start(self) -> None:
        if not self.targets:
            self.control.set_hosts([])
        for target in self.targets:
            target.start()

    def stop(self) -> None:
        for target in self.targets:
            target.stop()

    def on_answer(self, target: DnsTarget, changed: bool) -> None:
        """A target has an answer; with `changed` its addresses are new."""
        raise NotImplementedError


class StrictDnsDiscovery(DnsDiscovery):
    """STRICT_DNS: each address of each name is a host."""

    def on_answer(self, target: DnsTarget, changed: bool) -> None:
        if not changed and self.control.resolved:
            return
        hosts: dict[str, ControlHost] = {}
        for each in self.targets:
            for ip in each.addresses:
                address = each.config.address.at(ip) if each.config.address.host else each.config.address.literal()
                assert address is not None
                if address.text in hosts:
                    continue
                host = host_for(self.control, address, each.config)
                host.hostname = each.config.hostname or each.config.address.host
                hosts[host.key] = host
        if any(each.succeeded for each in self.targets):
            self.control.info.stats.max_host_weight.set(max([each.config.weight for each in self.targets]))
        self.control.set_hosts(list(hosts.values()))


class LogicalDnsDiscovery(DnsDiscovery):
    """LOGICAL_DNS: one host; connections go to what the name last resolved to, and stay where they are."""

    def on_answer(self, target: DnsTarget, changed: bool) -> None:
        if not changed:
            if not self.control.resolved:
                self.control.set_hosts(list(self.control.hosts.values()))
            return
        config = target.config
        addresses = [self._address(config, ip) for ip in target.addresses]
        # One identity, whatever the address.
        key = f"{config.address.host}:{config.address.port}"
        host = self.control.hosts.get(key)
        known = host is not None
        if host is None:
            host = ControlHost(key, addresses[0])
            host.describe(config)
        host.hostname = config.hostname or config.address.host
        host.address = addresses[0]
        host.addresses = order_addresses(addresses, self.control) if len(addresses) > 1 else []
        host.hc_address = check_address(addresses[0], config)
        if known:
            # The host is the same, although Envoy counts its move as a change.
            self.control.info.stats.membership_change.inc()
            self.control.publish_hosts()
        else:
            self.control.set_hosts([host])

    def _address(self, config: EndpointConfig, ip: str) -> Address:
        literal = config.address.literal()
        return literal if literal is not None else config.address.at(ip)
