"""/stats, /stats/prometheus, /stats/recentlookups."""

from __future__ import annotations

from outrider.server.admin.endpoint import Endpoint
from outrider.server.admin.request import JSON, TEXT, AdminRequest, AdminResponse, ok
from outrider.server.admin.state import AdminState
from outrider.stats.json import render_json
from outrider.stats.prometheus import render_prometheus
from outrider.stats.query import QueryError, StatsFormat, StatsQuery
from outrider.stats.text import render_text

_TRACKING_OFF = "Lookup tracking is not enabled. Use /stats/recentlookups/enable to enable.\n"


class StatsHandlers:
    """Stats of all processes, fetched from the workers for each request."""

    def __init__(self, state: AdminState) -> None:
        self.state = state
        self.tracking = False
        # The endpoint of /stats itself, whose form the HTML form of the page shows.
        self.endpoint: Endpoint | None = None

    async def stats(self, request: AdminRequest) -> AdminResponse:
        try:
            query = StatsQuery.parse(request.params)
            if query.format is StatsFormat.PROMETHEUS:
                return await self._prometheus(query)
            if query.format in (StatsFormat.HTML, StatsFormat.ACTIVE_HTML):
                from outrider.server.admin.home import stats_page

                await self.state.collect_stats()
                assert self.endpoint is not None
                return stats_page(self.state, self.endpoint, query, request)
            query.check()
        except QueryError as error:
            return AdminResponse(str(error), 400)
        await self.state.collect_stats()
        store = self.state.store
        if query.format is StatsFormat.JSON:
            return AdminResponse(render_json(store, query), content_type=JSON)
        return AdminResponse(render_text(store, query))

    async def prometheus(self, request: AdminRequest) -> AdminResponse:
        try:
            return await self._prometheus(StatsQuery.parse({**request.params, "format": "prometheus"}))
        except QueryError as error:
            return AdminResponse(str(error), 400)

    async def _prometheus(self, query: StatsQuery) -> AdminResponse:
        query.check()
        await self.state.collect_stats()
        return AdminResponse(render_prometheus(self.state.store, query, self.state.tag_producer), content_type=TEXT)

    async def recent_lookups(self, request: AdminRequest) -> AdminResponse:
        """Envoy counts look-ups of stat names here. Our hot code never looks a name up: the list stays empty."""
        head = "   Count Lookup\n" if self.tracking else _TRACKING_OFF
        return AdminResponse(f"{head}\ntotal: 0\n")

    async def clear_lookups(self, request: AdminRequest) -> AdminResponse:
        return ok()

    async def enable_lookups(self, request: AdminRequest) -> AdminResponse:
        self.tracking = True
        return ok()

    async def disable_lookups(self, request: AdminRequest) -> AdminResponse:
        self.tracking = False
        return ok()
