"""A proxy-wasm host (ABI 0.1.0 and 0.2.x) on wasmtime, which is imported when a module is configured.

abi.py       numbers of the ABI, and how lists of pairs travel
vm.py        one virtual machine: memory, calls into it, what must wait until they are over
host.py      the functions that modules import: logs, streams, headers, buffers
host_services.py   those for shared data, calls, metrics
wasi.py      the few of the system's that they import beside
context.py   contexts: the plugin's own, and the base of those of streams
calls.py     HTTP and gRPC calls of plugins
shared.py    data and queues that the plugins of a process share
plugin.py    a configured plugin: its machine, restarts, failure policy
"""
