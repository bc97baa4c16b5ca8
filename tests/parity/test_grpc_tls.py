"""What gRPC services are told of TLS, compared with Envoy: peers, certificates, sessions."""

from __future__ import annotations

import re
import ssl
import time

import pytest

from tests.parity.harness.config import TYPE, Json, bootstrap, cluster, http, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import Side, SideConfig
from tests.support.http1_message import get
from tests.support.raw_client import RawClient, Responses

CHECK = "/envoy.service.auth.v3.Authorization/Check"
ALS = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
HTTP2 = "{explicit_http_config: {http2_protocol_options: {}}}"
AUTHZ: Json = {
    "name": "envoy.filters.http.ext_authz",
    "typed_config": {
        "@type": TYPE + "extensions.filters.http.ext_authz.v3.ExtAuthz",
        **parse("{grpc_service: {envoy_grpc: {cluster_name: service}, timeout: 2s}, transport_api_version: V3, include_peer_certificate: true, include_tls_session: true}"),
    },
}
LOG: Json = {
    "name": "als",
    "typed_config": {
        "@type": TYPE + "extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        **parse("{common_config: {log_name: l, grpc_service: {envoy_grpc: {cluster_name: service}}, transport_api_version: V3, buffer_size_bytes: 1}}"),
    },
}


def tls(options: str) -> Json:
    made = http("tls", filters=[AUTHZ], log=[LOG])
    made["filter_chains"][0]["transport_socket"] = {
        "name": "tls",
        "typed_config": {
            "@type": TYPE + "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            **parse(f"{{common_tls_context: {{tls_certificates: [{{certificate_chain: {{filename: '<<cert:server>>'}}, private_key: {{filename: '<<key:server>>'}}}}], validation_context: {{trusted_ca: {{filename: '<<ca>>'}}}}{options}}}}}"),
        },
    }
    return made


GROUP = SideConfig(
    bootstrap(
        [tls(", tls_params: {tls_maximum_protocol_version: TLSv1_2, cipher_suites: [ECDHE-ECDSA-AES128-GCM-SHA256]}")],
        [cluster("up"), cluster("service", "<<grpc:service>>", protocol=HTTP2)],
    )
)
_PER_SIDE = [
    (r'certificate: ".*"', "certificate"), (r' id: "\d+"', " id"), (r"seconds: \d+\n", ""), (r"nanos: \d+\n", ""), (r"port_value: [3-6]\d{4}", "port"),
    (r"(_bytes_?\w*): \d+", r"\1"), (r'stream_id: ".*"', "stream"), (r'tls_session_id: ".+"', "session"), (r"^grpc-timeout: .*$", ""),
]  # fmt: skip


def told(side: Side, certificate: bool) -> str:
    """What the services hear of one request."""
    side.run_upstreams(())
    server = side.grpc["service"]
    server.play({CHECK: [b""], ALS: [b""]})
    context = ssl.create_default_context(cafile=side.authority.ca_file)
    context.check_hostname = False
    if certificate:
        context.load_cert_chain(*side.authority.issue("client", "client.test", "127.0.0.9"))
    client = RawClient(("127.0.0.1", side.port_of("port:tls")), context=context, server_name="sni.test")
    try:
        client.run([get("/"), Responses(1)])
    finally:
        client.close()
    time.sleep(0.5)
    text = side.normalizer()(server.report())
    for pattern, replacement in _PER_SIDE:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


@pytest.mark.parametrize("certificate", [False, True])
def test_tls(pair: Pair, certificate: bool) -> None:
    texts = [told(side, certificate) for side in pair.sides]
    assert "sni.test" in texts[0] and ("client.test" in texts[0]) == certificate
    pair.same(texts, "services")
