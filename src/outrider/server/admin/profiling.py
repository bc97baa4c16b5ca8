"""/cpuprofiler, /heapprofiler, /allocprofiler, /heap_dump, /peak_heap_dump: by Python's own profilers, of main."""

from __future__ import annotations

from outrider.server.admin.request import AdminRequest, AdminResponse, ok
from outrider.server.admin.state import AdminState

USAGE = "?enable=<y|n>\n"
TRACE_FRAMES = 8


class ProfilingHandlers:
    """cProfile for the processor (written to `admin.profile_path`), tracemalloc for memory."""

    def __init__(self, state: AdminState) -> None:
        self.state = state
        self._profile: object = None

    async def cpu_profiler(self, request: AdminRequest) -> AdminResponse:
        enable = request.params.get("enable")
        if enable not in ("y", "n"):
            return AdminResponse(USAGE, 400)
        import cProfile

        admin = self.state.settings.admin
        path = admin.profile_path if admin is not None else ""
        if enable == "y" and self._profile is None:
            try:
                with open(path, "ab"):
                    pass
            except OSError:
                return AdminResponse("failure to start the profiler", 500)
            profile = cProfile.Profile()
            profile.enable()
            self._profile = profile
        elif enable == "n" and isinstance(self._profile, cProfile.Profile):
            self._profile.disable()
            try:
                self._profile.dump_stats(path)
            except OSError:
                return AdminResponse("failure to write the profile", 500)
            finally:
                self._profile = None
        return ok()

    async def heap_profiler(self, request: AdminRequest) -> AdminResponse:
        return AdminResponse("The current build does not support heap profiler", 501)

    async def alloc_profiler(self, request: AdminRequest) -> AdminResponse:
        enable = request.params.get("enable")
        if enable not in ("y", "n"):
            return AdminResponse(USAGE, 400)
        import tracemalloc

        if enable == "y":
            tracemalloc.start(TRACE_FRAMES)
            return ok()
        if not tracemalloc.is_tracing():
            return ok()
        dump = await self.heap_dump(request)
        tracemalloc.stop()
        return dump

    async def heap_dump(self, request: AdminRequest) -> AdminResponse:
        """The lines of code that hold most memory: while `/allocprofiler?enable=y` is on, or as it is turned off."""
        import tracemalloc

        if not tracemalloc.is_tracing():
            return AdminResponse("The current build does not support heap dump unless /allocprofiler is enabled", 501)
        statistics = tracemalloc.take_snapshot().statistics("lineno")
        return AdminResponse("".join(f"{entry}\n" for entry in statistics[:1000]))

    async def peak_heap_dump(self, request: AdminRequest) -> AdminResponse:
        import tracemalloc

        if not tracemalloc.is_tracing():
            return AdminResponse("The current build does not support heap dump unless /allocprofiler is enabled", 501)
        current, peak = tracemalloc.get_traced_memory()
        return AdminResponse(f"current: {current}\npeak: {peak}\n")
