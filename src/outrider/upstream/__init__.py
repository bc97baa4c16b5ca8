"""Upstream: clusters, hosts, load balancers, connection pools, limits.

The data half runs in every worker: `cluster_manager` -> `cluster` -> `load_balancer/*` -> `conn_pool`, `http1_pool`,
`tcp_pool`, with `host`, `priority_set`, `resource_manager` and the stats in `cluster_info`. The control half,
`control/*`, runs in the main process: address resolution, active health checks, outlier decisions; it tells the
workers with `hosts_update`. `config/*` turns configuration messages into settings.
"""
