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
OVERLOAD: Final = "overload"  # states of overload actions and of load shed points, each {name: 0..10000}
LOG_LEVELS: Final = "log_levels"  # {logger: level}
REOPEN_LOGS: Final = "reopen_logs"
HEALTH: Final = "health"  # whether the health check is to fail
DRAIN: Final = "drain"  # names of listeners whose connections are to go away
SERVER_DRAIN: Final = "server_drain"  # monotonic seconds at which the whole server began to drain
STOP_LISTENERS: Final = "stop_listeners"  # names of listeners
EXIT: Final = "exit"

# Requests of main.
STATS: Final = "stats"  # -> (snapshot, number of connections)
CLUSTERS: Final = "clusters"  # -> per-host stats of every cluster
MEMORY: Final = "memory"  # -> resident bytes, bytes in use
