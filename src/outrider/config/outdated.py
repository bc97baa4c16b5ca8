"""Forms of the v3 API of Envoy 1.16 that Envoy 1.40 no longer knows, and what they became.

Fields and types that 1.40 still has, marked as deprecated, are not here: their
annotations say so (`notices.py`).
"""

from __future__ import annotations

from typing import Final

from outrider.config import api

RENAMED_FIELDS: Final = {
    ("envoy.config.cluster.v3.Cluster", "prefetch_policy"): "preconnect_policy",
    (
        "envoy.config.cluster.v3.Cluster.PreconnectPolicy",
        "per_upstream_prefetch_ratio",
    ): "per_upstream_preconnect_ratio",
    ("envoy.config.cluster.v3.Cluster.PreconnectPolicy", "predictive_prefetch_ratio"): "predictive_preconnect_ratio",
}
"""Message and old field name -> the field's name today (envoy 1.17 renamed prefetch)."""


def renamed_type(name: str) -> str | None:
    """Today's name of an extension type that was `v3alpha` then and became `v3`; None for any other."""
    today = name.replace(".v3alpha.", ".v3.")
    return today if today != name and api.has_type(today) else None
