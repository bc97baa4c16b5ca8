"""The default tags: which parts of Envoy's stat names are tags.

Envoy documents the names at "Statistics / tag extraction"; the patterns are those of 1.40. Order
matters: it is the order of labels in Prometheus output.
"""

from typing import Final, NamedTuple


class RegexTag(NamedTuple):
    """A tag found by a regular expression.

    The first group is what leaves the name, the second (if any) is the value. `substr` is text
    that a name must contain for the pattern to be worth trying; a value equal to `negative` is no
    match.
    """

    name: str
    pattern: str
    substr: str = ""
    negative: str = ""


class TokenTag(NamedTuple):
    """A tag found by position: `$` is the value, `*` any one token, `**` one or more tokens."""

    name: str
    pattern: str


RESPONSE_CODE: Final = "envoy.response_code"
RESPONSE_CODE_CLASS: Final = "envoy.response_code_class"
CLUSTER_NAME: Final = "envoy.cluster_name"
HTTP_CONN_MANAGER_PREFIX: Final = "envoy.http_conn_manager_prefix"
LISTENER_ADDRESS: Final = "envoy.listener_address"
WORKER_ID: Final = "envoy.worker_id"

_VALUE: Final = r"[^\.]+"
_ADDRESS: Final = r"(?:(?:\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[[a-fA-F_\d]+\])_\d+)"
_CIPHER: Final = r"[\w-]+"
_SECURE: Final = r"^(?:listener|cluster)\..*?\.ssl"

REGEX_TAGS: Final = (
    RegexTag(RESPONSE_CODE, r"_rq(_(\d{3}))$", "_rq_"),
    RegexTag(RESPONSE_CODE_CLASS, r"_rq_((\d))xx$", "_rq_"),
    RegexTag(
        "envoy.dynamo_partition_id",
        rf"^http\.{_VALUE}\.dynamodb\.table\.{_VALUE}\.capacity\.{_VALUE}(\.__partition_id=(\w{{7}}))$",
        ".dynamodb.table.",
    ),
    RegexTag(
        "envoy.dynamo_operation",
        rf"^http\.{_VALUE}\.dynamodb.(?:operation|table\.{_VALUE}\.capacity)(\.({_VALUE}))(?:\.|$)",
        ".dynamodb.",
    ),
    RegexTag("envoy.dynamo_table", rf"^http\.{_VALUE}\.dynamodb.(?:table|error)\.(({_VALUE})\.)", ".dynamodb."),
    RegexTag("envoy.ssl_cipher", rf"^listener\..*?\.ssl\.ciphers(\.({_CIPHER}))$", ".ssl.ciphers."),
    RegexTag("envoy.ssl_curve", rf"{_SECURE}\.curves(\.({_CIPHER}))$", ".ssl.curves."),
    RegexTag("envoy.ssl_sigalg", rf"{_SECURE}\.sigalgs(\.({_CIPHER}))$", ".ssl.sigalgs."),
    RegexTag("envoy.ssl_version", rf"{_SECURE}\.versions(\.(TLSv\d\.\d))$", ".ssl.versions."),
    RegexTag("cipher_suite", rf"^cluster\.{_VALUE}\.ssl\.ciphers(\.({_CIPHER}))$", ".ssl.ciphers."),
    RegexTag("envoy.health_check_name", rf"^cluster\.{_VALUE}\.health_check(\.name\.({_VALUE}))\..+", ".health_check."),
    RegexTag(HTTP_CONN_MANAGER_PREFIX, rf"^listener\..*?\.http\.(({_VALUE})\.)", ".http."),
    RegexTag(
        WORKER_ID,
        rf"^(?:listener\.(?:{_ADDRESS}|{_VALUE})|server|listener_manager|thread_local_cluster_manager)"
        r"\.worker_((\d+)\.)",
    ),
    RegexTag(LISTENER_ADDRESS, rf"^listener\.(({_ADDRESS}|{_VALUE})\.)", negative="admin"),
    RegexTag("envoy.rds_route_config", rf"^http\.{_VALUE}\.rds\.(([\w\-\./]+)\.)\w+?$", ".rds."),
    RegexTag("envoy.scoped_rds_config", rf"^http\.{_VALUE}\.scoped_rds\.(([\w\-\.]+)\.)\w+?$", ".scoped_rds."),
    RegexTag(
        "envoy.rbac_policy_name",
        rf"^http\.{_VALUE}\.rbac\.(?:{_VALUE}\.)?policy\.(({_VALUE})\.)"
        r"(allowed|shadow_allowed|denied|shadow_denied)$",
    ),
    RegexTag("envoy.rbac_http_prefix", rf"^http\.{_VALUE}\.rbac\.(({_VALUE})\.).*?", negative="policy"),
    RegexTag("envoy.proxy_protocol_prefix", rf"^proxy_proto\.(({_VALUE})\.).+$", negative="versions"),
    RegexTag("envoy.proxy_protocol_version", rf"^proxy_proto\.((?:{_VALUE}\.)?versions\.v(\d)\.)\w+$"),
    RegexTag("envoy.tls_certificate", rf"{_SECURE}\.certificate\.(({_VALUE})\.).*$", ".ssl.certificate"),
    RegexTag("envoy.xds_resource_name", rf"^sds\.(({_VALUE})\.).+"),
)

TOKEN_TAGS: Final = (
    TokenTag("envoy.mongo_callsite", "mongo.*.collection.*.callsite.$.query.**"),
    TokenTag("envoy.mongo_collection", "mongo.*.collection.$.**.query.*"),
    TokenTag("envoy.mongo_cmd", "mongo.*.cmd.$.**"),
    TokenTag("envoy.grpc_bridge_method", "cluster.*.grpc.*.$.**"),
    TokenTag("envoy.http_user_agent", "http.*.user_agent.$.**"),
    TokenTag("envoy.virtual_cluster", "vhost.*.vcluster.$.**"),
    TokenTag("envoy.fault_downstream_cluster", "http.*.fault.$.**"),
    TokenTag("envoy.grpc_bridge_service", "cluster.*.grpc.$.**"),
    TokenTag("envoy.tcp_prefix", "tcp.$.**"),
    TokenTag("envoy.udp_prefix", "udp.$.**"),
    TokenTag("envoy.clientssl_prefix", "auth.clientssl.$.**"),
    TokenTag("envoy.ratelimit_prefix", "ratelimit.$.**"),
    TokenTag(CLUSTER_NAME, "cluster.$.**"),
    TokenTag("envoy.ext_authz_prefix", "cluster.*.ext_authz.$.**"),
    TokenTag("envoy.ext_authz_prefix", "http.*.ext_authz.$.**"),
    TokenTag(HTTP_CONN_MANAGER_PREFIX, "http.$.**"),
    TokenTag("envoy.virtual_host", "vhost.$.**"),
    TokenTag("envoy.mongo_prefix", "mongo.$.**"),
    TokenTag("envoy.route", "vhost.*.route.$.**"),
    TokenTag("envoy.thrift_prefix", "thrift.$.**"),
    TokenTag("envoy.redis_prefix", "redis.$.**"),
    TokenTag("envoy.local_http_ratelimit_prefix", "$.http_local_rate_limit.**"),
    TokenTag("envoy.local_network_ratelimit_prefix", "local_rate_limit.$.**"),
    TokenTag("envoy.local_listener_ratelimit_prefix", "listener_local_ratelimit.$.**"),
    TokenTag("envoy.dns_filter_prefix", "dns_filter.$.**"),
    TokenTag("envoy.connection_limit_prefix", "connection_limit.$.**"),
    TokenTag("envoy.rbac_prefix", "$.rbac.**"),
    TokenTag("envoy.google_grpc_client_prefix", "grpc.$.**"),
)
