"""A Lua virtual machine with one script in it."""

from __future__ import annotations

from typing import Any

from outrider.extensions.filters.http.lua.binding import CLASSES, guarded
from outrider.extensions.filters.http.lua.handle import StreamHandle
from outrider.extensions.filters.http.lua.prelude import PRELUDE


class ScriptError(Exception):
    """The script cannot be loaded; the text says why."""


class Script:
    """One machine. Raises ScriptError: LuaJIT is not installed, or the script is wrong."""

    __slots__ = ("lua", "links", "on_request", "on_response", "suspended", "_advance", "_new_run")

    def __init__(self, code: bytes, package_paths: list[str], package_cpaths: list[str]) -> None:
        try:
            from lupa.luajit21 import LuaRuntime
        except ImportError:
            raise ScriptError("the Python package 'lupa' with LuaJIT is not installed") from None
        lua: Any = LuaRuntime(
            encoding=None, unpack_returned_tuples=True, register_eval=False, register_builtins=False
        )
        self.lua: Any = lua
        # Classes of objects by the names that binding.py gives them.
        self.links: dict[str, Any] = {}
        # After `advance`: the script has yielded.
        self.suspended = False
        failed, wait = lua.table(), lua.table()
        made = lua.execute(PRELUDE, failed, wait)
        new_class, add_method, add_pairs, add_chunks, self._new_run, self._advance, load, set_take, find, prepend = made
        for each in CLASSES:
            self.links[each.name] = new_class(each.name.encode())
        for each in CLASSES:
            meta = self.links[each.name]
            for name, (method, most) in each.methods.items():
                link = self.links.get(each.links.get(name, ""))
                add_method(meta, name.encode(), guarded(method, most, failed, wait, link))
            if each.pairs:
                walked = each.python
                begin, step = getattr(walked, "begin_iteration"), getattr(walked, "next_entry")  # noqa: B009
                add_pairs(meta, guarded(begin, 0, failed, wait, None), guarded(step, 0, failed, wait, None))
        add_chunks(
            self.links["handle"],
            guarded(StreamHandle.begin_chunks, 0, failed, wait, None),
            guarded(StreamHandle.next_chunk, 0, failed, wait, self.links["body"]),
        )
        set_take(guarded(StreamHandle.take, 0, failed, wait, None))
        if package_paths or package_cpaths:
            prepend(";".join(package_paths).encode() or None, ";".join(package_cpaths).encode() or None)
        problem = load(code)
        if problem is not None:
            raise ScriptError(_text(problem))
        self.on_request: Any = find(b"envoy_on_request")
        self.on_response: Any = find(b"envoy_on_response")

    def new_run(self, function: Any, handle: StreamHandle) -> Any:
        """A coroutine that calls `function(handle)`, not yet begun."""
        return self._new_run(function, handle, self.links["handle"])

    def advance(self, run: Any) -> str | None:
        """Let the script go on until it waits or ends; gives the text of an error."""
        outcome = self._advance(run)
        if isinstance(outcome, tuple):
            self.suspended = False
            return _text(outcome[1])
        self.suspended = outcome == b"waiting"
        return None


def _text(problem: object) -> str:
    if isinstance(problem, bytes):
        return problem.decode("utf-8", "replace")
    return f"unspecified lua error ({problem})"
