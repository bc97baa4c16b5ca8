"""The kinds of message between main and a worker, with their payloads."""

from __future__ import annotations

from typing import Final

# Worker to main.
READY: Final = "ready"  # everything is built: send START
TO_CONTROL: Final = "to_control"  # (topic, data) for a part of the control plane: outlier results, ...

# Main to worker.
START: Final = "start"  # WorkerState as a dict: take all of it over and accept connections
RUNTIME: Final = "runtime"  # values of the runtime, as RuntimeLoader.plain()
HOSTS: Final = "hosts"  # a HostsUpdate, plain
ROWS: Final = "rows"  # {name: row} of the shared arena that main has given out
CLUSTER: Final = "cluster"  # (name, Cluster message, its HostsUpdate plain): new or changed
REMOVE_CLUSTER: Final = "remove_cluster"  # name
RELAY: Final = "relay"  # discovered resources: (key, mode, resources, names removed, version), see server.relay
RELAY_FORGET: Final = "relay_forget"  # (key, names): nobody asks for these any more
LISTENER: Final = "listener"  # (number, Listener message, number replaced in place or -1, addresses) and descriptors
DRAIN_LISTENER: Final = "drain_listener"  # number: stop to accept, ask connections to go away
CLOSE_LISTENER: Final = "close_listener"  # number: its drain is over
CLOSE_CHAINS: Final = "close_chains"  # number: the drain of what this update in place dropped is over
OVERLOAD: Final = "overload"  # states of overload actions and of load shed points, each {name: 0..10000}
LOG_LEVELS: Final = "log_levels"  # {logger: level}
REOPEN_LOGS: Final = "reopen_logs"
HEALTH: Final = "health"  # whether the health check is to fail
DRAIN: Final = "drain"  # numbers of listeners whose connections are to go away
SERVER_DRAIN: Final = "server_drain"  # monotonic seconds at which the whole server began to drain
STOP_LISTENERS: Final = "stop_listeners"  # numbers of listeners
EXIT: Final = "exit"

# Requests of main.
STATS: Final = "stats"  # -> (snapshot, number of connections)
CLUSTERS: Final = "clusters"  # -> per-host stats of every cluster
MEMORY: Final = "memory"  # -> resident bytes, bytes in use
