"""The control half of upstream, in the main process: `manager` owns one `cluster_control` per cluster.

`cluster_control` keeps the list of hosts with their health; `dns_discovery` fills it from names, `health/*` checks the
hosts, `outlier_detector` ejects them. Every change becomes a `HostsUpdate` for the workers.
"""
