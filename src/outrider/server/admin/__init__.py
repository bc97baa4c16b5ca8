"""The admin interface: Envoy's endpoints over our own HTTP stack.

request.py       AdminRequest, AdminResponse
endpoint.py      Endpoint, Parameter, the table of all endpoints, /help
table.py         which handler serves what
server.py        the listener, and the HTTP filter that calls handlers
home.py          / and the stats page
stats.py         /stats, /stats/prometheus, /stats/recentlookups
config_dump.py   /config_dump, /init_dump
clusters.py      /clusters
listeners.py     /listeners, /drain_listeners
server_info.py   /server_info, /ready, /memory, /certs, /contention, /hot_restart_version
control.py       /healthcheck, /quitquitquit, /reset_counters, /reopen_logs, /logging
runtime.py       /runtime, /runtime_modify
profiling.py     /cpuprofiler, /heapprofiler, /allocprofiler, /heap_dump
"""
