"""The event loop and its timers; the only importer of asyncio and uvloop."""
