"""Builds a large route table while requests are served: a few milliseconds at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from outrider.config.load import paused_collector
from outrider.router.config.route_config import RouteConfig
from outrider.router.config.route_config_loader import StepwiseLoad

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_log: Final = logging.getLogger("outrider.config")

WORTH_IT: Final = 16_384
"""Bytes of a route configuration from which on it is built in slices."""
SLICE_S: Final = 0.004


class SlicedBuild:
    """One table in the making; `done` is called with it, unless it is cancelled."""

    def __init__(self, view: View, context: FactoryContext, done: Callable[[RouteConfig], None]) -> None:
        self._load = StepwiseLoad(view, context, False)
        self._done = done
        self._dispatcher = context.dispatcher
        self._cancelled = False

    def start(self) -> None:
        self._dispatcher.post(self._run)

    def cancel(self) -> None:
        """A newer table is coming."""
        self._cancelled = True

    def _run(self) -> None:
        if self._cancelled:
            return
        deadline = time.monotonic() + SLICE_S
        try:
            with paused_collector():
                for _ in self._load.steps:
                    if time.monotonic() >= deadline:
                        self._dispatcher.post(self._run)
                        return
        except Exception:
            # Main has built it: this is a fault of ours, and what serves must go on.
            _log.exception("cannot build routes")
            return
        self._done(self._load.config)
