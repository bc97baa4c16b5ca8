"""What is measured: a configuration, a load, and the wanted ratio to Envoy."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import configs
from benchmarks.configs import Place
from benchmarks.loads import Datagrams, H2Load, Load, Wrk

RICH_HEADERS = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes",
    "Referer: https://shop.example.com/catalogue/items?page=4",
    "Cache-Control: no-cache",
    "Pragma: no-cache",
    "DNT: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Upgrade-Insecure-Requests: 1",
    "X-Tenant: blue",
    "X-Forwarded-For: 203.0.113.9",
    "Authorization: Bearer 0123456789abcdef0123456789abcdef0123456789abcdef",
]

# A goal of this kind is not a ratio to Envoy.
NO_GOAL = 0.0


class Scenario:
    """A configuration and a load; `goal` is the wanted ratio to Envoy, `nginx` nginx's form of the configuration."""

    def __init__(
        self,
        name: str,
        config: Callable[[Place], str],
        load: Load,
        goal: float,
        nginx: Callable[[Place], str] | None = None,
        unit: str = "rq",
        workers: int = 1,
        udp: bool = False,
    ) -> None:
        self.name = name
        self.config = config
        self.load = load
        self.goal = goal
        self.nginx = nginx
        self.unit = unit
        self.workers = workers
        # The listener takes datagrams: no connection tells whether it is ready.
        self.udp = udp


_CLOSE = ["Connection: close"]
_SHOP = ["Host: shop.example.com", *RICH_HEADERS]

SCENARIOS = [
    Scenario("small", configs.small, Wrk("/", [], 32), 0.5, configs.nginx_http),
    Scenario("rich", configs.rich, Wrk("/catalogue/items?page=5", _SHOP, 32), 0.5),
    Scenario("routes-5000", configs.Routes(5000), Wrk("/service-4999/x", [], 32), 0.25),
    Scenario("body-1MiB", configs.small, Wrk("/big", [], 8), 0.8, configs.nginx_http),
    Scenario("post-64KiB", configs.small, Wrk("/echo", [], 16, "post64k.lua"), 0.7, configs.nginx_http),
    Scenario("new-connection", configs.small, Wrk("/", _CLOSE, 16), 0.8, configs.nginx_http),
    Scenario("h2-h1", configs.small, H2Load("/", 4, 16), 0.7, configs.nginx_h2),
    Scenario("h2-h2", configs.h2_to_h2, H2Load("/", 4, 16), 0.7),
    Scenario("grpc-unary", configs.h2_to_h2, H2Load("/bench.Echo/Call", 4, 16, grpc=True), 0.7),
    Scenario("tls-keepalive", configs.tls, Wrk("/", [], 32, tls=True), 0.8, configs.nginx_tls),
    Scenario("tls-handshake", configs.tls, Wrk("/", _CLOSE, 16, tls=True), 1.0, configs.nginx_tls),
    Scenario("tls-1MiB", configs.tls, Wrk("/big", [], 8, tls=True), 0.9, configs.nginx_tls),
    Scenario("tcp-small", configs.tcp, Wrk("/", [], 32), 0.8),
    Scenario("tcp-bulk", configs.tcp, Wrk("/big", [], 8, mib=1.0), 0.5, unit="MiB"),
    Scenario("tcp-new-connection", configs.tcp, Wrk("/", _CLOSE, 16), 0.9),
    Scenario("udp-echo", configs.udp, Datagrams(16, 4, 64), 1.0, udp=True),
    Scenario("routes-10", configs.Routes(10), Wrk("/service-9/x", [], 32), NO_GOAL),
    Scenario("routes-10000", configs.Routes(10_000), Wrk("/service-9999/x", [], 32), NO_GOAL),
    Scenario("hosts-10", configs.VirtualHosts(10), Wrk("/", ["Host: a.zone9.example.com"], 32), NO_GOAL),
    Scenario("hosts-10000", configs.VirtualHosts(10_000), Wrk("/", ["Host: a.zone9999.example.com"], 32), NO_GOAL),
    Scenario("two-workers", configs.small, Wrk("/", [], 32), 0.5, workers=2),
]
