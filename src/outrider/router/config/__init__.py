"""Route configuration, made ready for the hot path.

route.py              Route and its kinds: what the router and the connection manager read
route_config.py       RouteConfig: virtual hosts by domain; the entry point `RouteConfig.from_view(view, context)`
virtual_host.py       VirtualHost: routes, TLS requirement, virtual clusters
route_table.py        which routes of a virtual host may match a path, in configured order
route_match.py        conditions of one route (path, headers, query, cookies, runtime, TLS, metadata)
path_match.py         the kinds of path condition; uri_template.py the template one
path_rewrite.py       what happens to the path; host_rewrite.py to the host
redirect.py           redirect action; direct_response.py the direct response
weighted_clusters.py  choice between clusters
header_edits.py       header mutations of route, virtual host and configuration, in Envoy's order
retry_policy.py hedge_policy.py shadow_policy.py hash_policy.py internal_redirect.py upgrade_config.py   settings
filter_configs.py     per-filter configuration, most specific first
*_loader.py           build the above from configuration views
"""
