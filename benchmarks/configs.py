"""The configurations that are measured; Outrider and the real Envoy get the same text."""

from __future__ import annotations

from pathlib import Path

_TYPE = "type.googleapis.com/envoy.extensions"

ROUTER = f"""
          - name: envoy.filters.http.router
            typed_config: {{"@type": {_TYPE}.filters.http.router.v3.Router}}"""

PLAIN_HOST = """
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: "/"}
                route: {cluster: upstream}
"""

_HTTP2_UPSTREAM = f"""    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": {_TYPE}.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
"""


class Place:
    """Where a proxy under test listens, what is behind it, and its folder for keys and logs."""

    def __init__(self, port: int, upstream: int, upstream_h2: int, upstream_udp: int, folder: Path, who: str) -> None:
        self.port = port
        self.upstream = upstream
        self.upstream_h2 = upstream_h2
        self.upstream_udp = upstream_udp
        self.folder = folder
        self.who = who


def cluster(name: str, port: int, extra: str = "") -> str:
    return f"""
  - name: {name}
    connect_timeout: 5s
    type: STATIC
{extra}
    circuit_breakers:
      thresholds: [{{max_connections: 10000, max_pending_requests: 10000, max_requests: 10000, max_retries: 100}}]
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"""


def document(listener: str, clusters: str) -> str:
    return f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
{listener}
  clusters:{clusters}"""


def http(
    place: Place, hcm: str = "", virtual_hosts: str = PLAIN_HOST, chain: str = "", upstream_h2: bool = False
) -> str:
    """A whole configuration around a connection manager; `chain` adds to its filter chain (a transport socket)."""
    listener = http_listener("bench", place.port, hcm, virtual_hosts, chain)
    if upstream_h2:
        return document(listener, cluster("upstream", place.upstream_h2, _HTTP2_UPSTREAM))
    return document(listener, cluster("upstream", place.upstream))


def http_listener(name: str, port: int, hcm: str = "", virtual_hosts: str = PLAIN_HOST, chain: str = "") -> str:
    return f"""  - name: {name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
{hcm}
          http_filters:{ROUTER}
          route_config:
            name: bench
            virtual_hosts:
{virtual_hosts}
{chain}
"""


def small(place: Place) -> str:
    return http(place)


def h2_to_h2(place: Place) -> str:
    return http(place, upstream_h2=True)


def tls(place: Place) -> str:
    return http(place, chain=tls_socket(place))


def tls_socket(place: Place) -> str:
    return f"""      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": {_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - certificate_chain: {{filename: "{place.folder}/server.crt"}}
              private_key: {{filename: "{place.folder}/server.key"}}
"""


def rich(place: Place) -> str:
    """17 request headers, header edits, 20 virtual hosts with several routes, remote address, an access log."""
    return http(place, *rich_parts(place))


def rich_parts(place: Place) -> tuple[str, str]:
    """Fields of the connection manager, and virtual hosts."""
    hcm = f"""          use_remote_address: true
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": {_TYPE}.access_loggers.file.v3.FileAccessLog
              path: {place.folder}/{place.who}-access.log
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
    return hcm, hosts


class Routes:
    """`count` prefix routes in one virtual host."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, place: Place) -> str:
        routes = "".join(
            f"""
              - match: {{prefix: "/service-{number}/"}}
                route: {{cluster: upstream}}"""
            for number in range(self.count)
        )
        hosts = f'            - name: all\n              domains: ["*"]\n              routes:{routes}\n'
        return http(place, "", hosts)


class VirtualHosts:
    """`count` virtual hosts, each with an exact and a suffix domain."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, place: Place) -> str:
        return http(
            place,
            "",
            "".join(
                f"""
            - name: vh{number}
              domains: ["host{number}.example.com", "*.zone{number}.example.com"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: upstream}}}}]"""
                for number in range(self.count)
            ),
        )


def many_clusters(place: Place) -> str:
    """1,000 clusters, 5,000 routes: what start-up is measured with."""
    routes = "".join(
        f"""
              - match: {{prefix: "/service-{number}/"}}
                route: {{cluster: upstream{number % 1000}}}"""
        for number in range(5000)
    )
    hosts = f'            - name: all\n              domains: ["*"]\n              routes:{routes}\n'
    whole = http(place, "", hosts)
    return whole + "".join(cluster(f"upstream{number}", place.upstream) for number in range(1000))


def tcp(place: Place) -> str:
    return document(tcp_listener("bench", place.port), cluster("upstream", place.upstream))


def tcp_listener(name: str, port: int) -> str:
    return f"""  - name: {name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": {_TYPE}.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: bench
          cluster: upstream
"""


def udp(place: Place) -> str:
    listener = f"""  - name: bench
    address: {{socket_address: {{protocol: UDP, address: 127.0.0.1, port_value: {place.port}}}}}
    udp_listener_config: {{}}
    listener_filters:
    - name: envoy.filters.udp_listener.udp_proxy
      typed_config:
        "@type": {_TYPE}.filters.udp.udp_proxy.v3.UdpProxyConfig
        stat_prefix: bench
        matcher:
          on_no_match:
            action:
              name: route
              typed_config: {{"@type": {_TYPE}.filters.udp.udp_proxy.v3.Route, cluster: upstream}}"""
    return document(listener, cluster("upstream", place.upstream_udp))


# --- nginx's equivalents ---


def nginx_http(place: Place, listen: str = "", server: str = "", upstream: str = "") -> str:
    return f"""
  http {{
    access_log off; keepalive_requests 1000000000; client_max_body_size 100m; client_body_buffer_size 256k;
    client_body_temp_path {place.folder}/nb; proxy_temp_path {place.folder}/np; fastcgi_temp_path {place.folder}/nf;
    uwsgi_temp_path {place.folder}/nu; scgi_temp_path {place.folder}/ns;
    upstream up {{ server 127.0.0.1:{place.upstream}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
      listen 127.0.0.1:{place.port} backlog=4096 {listen}; {server}
      location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
  }}
"""


def nginx_h2(place: Place) -> str:
    return nginx_http(place, "http2", "http2_max_concurrent_streams 512;")


def nginx_tls(place: Place) -> str:
    return nginx_http(
        place, "ssl", f"ssl_certificate {place.folder}/server.crt; ssl_certificate_key {place.folder}/server.key;"
    )
