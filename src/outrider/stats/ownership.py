"""Which stats a worker reports to main.

A worker builds the same clusters, routes and listeners as main and so counts their updates as
well. In Envoy those happen once, on the main thread. A worker therefore keeps to itself what the
control plane counts, and reports what traffic counts.
"""

import re
from typing import Final

# Subsystems that live in main, apart from their per-worker stats (`server.worker_0.watchdog_miss`).
MAIN_ROOTS: Final = frozenset(
    (
        "cluster_manager",
        "config",
        "control_plane",
        "extension_config_discovery",
        "hds_delegate",
        "listener_manager",
        "main_thread",
        "overload",
        "runtime",
        "sds",
        "server",
        "xds_grpc",
    )
)

MAIN_ONLY: Final = re.compile(
    r"cluster\..+\.(?:membership_change|assignment_\w+|update_\w+|config_reload(?:_time_ms)?|init_fetch_timeout"
    r"|version|version_text|health_check\..+|outlier_detection\..+)"
    r"|http\..+\.(?:rds|scoped_rds|srds|vhds)\..+"
    r"|vhds\..+"
    r"|.*\.ssl_context_update_by_sds"
)


def reported_by_workers(name: str) -> bool:
    """Whether a worker's stat of this name is added to main's."""
    root, _, rest = name.partition(".")
    if root in MAIN_ROOTS:
        return rest.startswith("worker_") or rest.endswith((".shed_load_count", ".shrink_count"))
    return MAIN_ONLY.fullmatch(name) is None
