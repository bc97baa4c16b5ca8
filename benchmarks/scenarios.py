"""What is measured: configurations (Envoy's YAML, the same text for Outrider and Envoy) and loads."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

RICH_HEADERS = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.8,de;q=0.5",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Cache-Control: no-cache",
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes",
    "Referer: http://shop.example.com/catalogue/items?page=4",
    "DNT: 1",
    "Pragma: no-cache",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-User: ?1",
    "Upgrade-Insecure-Requests: 1",
    "X-Tenant: blue",
    "X-Forwarded-For: 203.0.113.9",
    "Authorization: Bearer 0123456789abcdef0123456789abcdef0123456789abcdef",
]

ROUTER = """
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}"""


def bootstrap(port: int, upstream: int, hcm: str, virtual_hosts: str, filters: str = ROUTER, cluster: str = "") -> str:
    """A whole configuration around a connection manager."""
    return f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: bench
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
{hcm}
          http_filters:{filters}
          route_config:
            name: bench
            virtual_hosts:
{virtual_hosts}
  clusters:
  - name: upstream
    connect_timeout: 5s
    type: STATIC
{cluster}
    circuit_breakers:
      thresholds: [{{max_connections: 10000, max_pending_requests: 10000, max_requests: 10000, max_retries: 100}}]
    load_assignment:
      cluster_name: upstream
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"""


PLAIN_HOST = """
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: "/"}
                route: {cluster: upstream}
"""


def small(port: int, upstream: int, folder: Path, who: str) -> str:
    return bootstrap(port, upstream, "", PLAIN_HOST)


def rich(port: int, upstream: int, folder: Path, who: str) -> str:
    """17 request headers, header edits, 20 virtual hosts with several routes, remote address, an access log."""
    hcm = f"""          use_remote_address: true
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {folder}/{who}-access.log
"""
    hosts = ""
    for number in range(20):
        name = "shop.example.com" if number == 10 else f"host{number}.example.com"
        hosts += f"""
            - name: vh{number}
              domains: ["{name}", "*.{name}"]
              request_headers_to_add:
              - header: {{key: x-tenant-host, value: "{name}"}}
              routes:
              - match: {{prefix: "/admin/"}}
                direct_response: {{status: 403}}
              - match: {{path: "/healthz"}}
                direct_response: {{status: 200}}
              - match: {{prefix: "/api/", headers: [{{name: x-tenant, string_match: {{exact: red}}}}]}}
                route: {{cluster: upstream}}
              - match: {{prefix: "/"}}
                route:
                  cluster: upstream
                  timeout: 10s
                  retry_policy: {{retry_on: "5xx,reset", num_retries: 2}}
                request_headers_to_add:
                - header: {{key: x-client, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}
                response_headers_to_add:
                - header: {{key: x-route, value: shop}}
                response_headers_to_remove: [x-powered-by]
"""
    return bootstrap(port, upstream, hcm, hosts)


def routes_5000(port: int, upstream: int, folder: Path, who: str) -> str:
    routes = "".join(
        f"""
              - match: {{prefix: "/service-{number}/"}}
                route: {{cluster: upstream}}"""
        for number in range(5000)
    )
    hosts = f'            - name: all\n              domains: ["*"]\n              routes:{routes}\n'
    return bootstrap(port, upstream, "", hosts)


def wrk(path: str, headers: list[str], connections: int, script: str = "") -> Callable[[int, float], dict[str, float]]:
    """A load of `connections` keep-alive connections from one thread."""

    def load(port: int, seconds: float) -> dict[str, float]:
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
        for header in headers:
            command += ["-H", header]
        if script:
            command += ["-s", str(Path(__file__).resolve().parent / script)]
        command.append(f"http://127.0.0.1:{port}{path}")
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return parse_wrk(done.stdout)

    return load


_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}


def parse_wrk(text: str) -> dict[str, float]:
    """Requests, rate, latencies (ms) and errors of a wrk run."""

    def latency(mark: str) -> float:
        hit = re.search(rf"{mark}%\s+([\d.]+)(us|ms|s|m)", text)
        return float(hit.group(1)) * _UNITS[hit.group(2)] if hit else 0.0

    total = re.search(r"(\d+) requests in ([\d.]+)s", text)
    assert total is not None, text
    errors = sum(int(number) for number in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if refused:
        errors += int(refused.group(1))
    requests = float(total.group(1))
    return {
        "units": requests,
        "rps": requests / float(total.group(2)),
        "p50_ms": latency("50"),
        "p99_ms": latency("99"),
        "errors": float(errors),
    }


class Scenario:
    """A configuration and a load; `goal` is the wanted ratio to Envoy."""

    def __init__(
        self,
        name: str,
        config: Callable[[int, int, Path, str], str],
        load: Callable[[int, float], dict[str, float]],
        goal: float,
        nginx: bool = False,
        unit: str = "rq",
    ) -> None:
        self.name = name
        self.config = config
        self.load = load
        self.goal = goal
        self.nginx = nginx
        self.unit = unit


SCENARIOS = [
    Scenario("small", small, wrk("/", [], 32), 0.5, nginx=True),
    Scenario("rich", rich, wrk("/catalogue/items?page=5", ["Host: shop.example.com", *RICH_HEADERS], 32), 0.5),
    Scenario("routes-5000", routes_5000, wrk("/service-4999/x", [], 32), 0.25),
    Scenario("body-1MiB", small, wrk("/big", [], 8), 0.8, nginx=True),
    Scenario("post-64KiB", small, wrk("/echo", [], 16, "post64k.lua"), 0.7, nginx=True),
    Scenario("new-connection", small, wrk("/", ["Connection: close"], 16), 0.8, nginx=True),
]
