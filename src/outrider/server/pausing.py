"""Holding back requests for some types of resources while others are taken in: EDS during CDS, RDS during LDS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from outrider.config.subscription import SubscriptionFactory


@contextmanager
def paused(subscriptions: SubscriptionFactory, type_names: Sequence[str]) -> Iterator[None]:
    """Streams ask for nothing new of these types meanwhile, then once for all. Other sources need no pause."""
    source: Any = subscriptions
    pause = getattr(source, "pause", None)
    if pause is None:
        yield
        return
    for type_name in type_names:
        pause(type_name)
    try:
        yield
    finally:
        for type_name in type_names:
            source.resume(type_name)
