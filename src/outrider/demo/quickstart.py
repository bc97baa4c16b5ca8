"""Runs the embedded quick-start: the proxy with `quickstart.yaml`, the upstream in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from outrider.demo.upstream import DEFAULT_PORT, open_socket, serve

if TYPE_CHECKING:
    from outrider.server.options import Options

CONFIG: Final = Path(__file__).with_name("quickstart.yaml")
# Where proxy and admin listen; a container sets 0.0.0.0.
ADDRESS_VARIABLE: Final = "OUTRIDER_DEMO_ADDRESS"

_MESSAGE: Final = """
Outrider runs its quick-start.

  proxy   http://{host}:10000/
  admin   http://{host}:9901/

  curl -i http://{host}:10000/hello

Run your own Envoy configuration:   outrider -c envoy.yaml
Only check it:                      outrider --mode validate -c envoy.yaml
This configuration is:              {path}

Ctrl-C ends it.
"""


def configuration(address: str, upstream_port: int) -> str:
    """The quick-start's configuration for these places."""
    text = CONFIG.read_text("utf-8")
    if address != "127.0.0.1":
        for port in ("9901", "10000"):
            old, new = f"address: 127.0.0.1, port_value: {port}", f"address: {address}, port_value: {port}"
            text = text.replace(f"{old}}}", f"{new}}}")
    return text.replace(f"port_value: {DEFAULT_PORT}}}", f"port_value: {upstream_port}}}")


def start_upstream() -> tuple[int, int]:
    """Fork the upstream. Gives its port, and a descriptor: the upstream ends when that is closed."""
    opened = open_socket(DEFAULT_PORT)
    port = int(opened.getsockname()[1])
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    if os.fork() == 0:
        os.close(write_end)
        # Ctrl-C goes to all: the upstream ends with the proxy, not before.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            serve(opened, read_end)
        finally:
            os._exit(0)
    opened.close()
    os.close(read_end)
    os.set_inheritable(write_end, False)
    return port, write_end


def run_demo(options: Options) -> int:
    """The exit code."""
    from outrider.server import run

    address = os.environ.get(ADDRESS_VARIABLE, "127.0.0.1")
    if options.mode == "validate":
        options.config_yaml = configuration(address, DEFAULT_PORT)
        return run.validate(options)
    port, upstream = start_upstream()
    options.config_yaml = configuration(address, port)
    if options.concurrency is None:
        options.concurrency = min(options.worker_count(), 2)
    host = "localhost" if address in ("127.0.0.1", "0.0.0.0", "::") else address
    message = _MESSAGE.format(host=host, path=CONFIG)
    try:
        return run.serve(options, on_live=lambda: print(message, flush=True))
    finally:
        os.close(upstream)
