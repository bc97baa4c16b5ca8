"""The router: from a route to an answer.

config/               route configuration, made ready for the hot path
route_source.py       where a connection manager's routes come from; route_provider.py the same as streams see it
rds.py                route tables by name that follow a config source; vhds.py their hosts on demand
sliced_build.py       a large table in the making while requests are served
scoped_routes.py      a route table by request headers, listed or discovered; scope_keys.py the same as streams see it
router_config.py      `envoy.filters.http.router`: settings, stats, factory
filter.py             RouterFilter: the request's way to an upstream; state of one request
upstream_request.py   UpstreamRequest: one attempt; upgrade.py its held payload, upstream_log.py its log entries
response.py           the response's way back
recovery.py           timeouts, resets, retries, hedging; reset_reason.py flags and texts of resets
retry_state.py        engine: whether and when to try again; back_off.py its intervals
request_timeouts.py   the timeouts of a request; timeouts.py their arithmetic
header_steering.py    request headers that steer the router
load_balancing.py     what load balancers are told of a request
local_answer.py       answers without an upstream
internal_redirect.py  redirects that the proxy follows itself
shadow.py             mirrored requests
tcp_upstream.py       CONNECT that ends here
charge.py             what is counted
"""
