"""envoy.filters.http.lua: scripts on LuaJIT (the package `lupa`, imported when a script is configured).

filter.py     the filter: when a script runs, what its outcome means for the message
settings.py   configuration: scripts, per-route overrides
script.py     one virtual machine with one script, and the runs (coroutines) in it
prelude.py    the Lua side of the objects that scripts are given
binding.py    the methods of those objects, by class
handle.py     the stream handle
values.py     headers, bodies, metadata, and values between Python and Lua
facts.py      stream info, connection, certificates
crypto.py     public keys and signatures
"""

from outrider.extensions.filters.http.lua.settings import create

__all__ = ["create"]
