"""The command `outrider`: Envoy's command line."""

from __future__ import annotations

import os
import sys
from typing import Final

CONFIG_PATHS: Final = ("/etc/envoy/envoy.yaml", "/etc/outrider/outrider.yaml")


def main(arguments: list[str] | None = None) -> int:
    """Run with these arguments (the process' own by default); gives the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    program = os.path.basename(sys.argv[0]) or "outrider"
    if program.startswith("__main__"):
        program = "outrider"
    # As in Envoy these win over whatever else is said.
    plain = given[: given.index("--")] if "--" in given else given
    if "--help" in plain or "-h" in plain:
        from outrider.server.usage import USAGE

        print(USAGE, end="")
        return 0
    if "--version" in plain:
        from outrider.server.version import version_line

        print(version_line(program))
        return 0
    if "--hot-restart-version" in plain:
        from outrider.server.version import HOT_RESTART_VERSION

        print(HOT_RESTART_VERSION)
        return 0
    from outrider.server.options import UsageError, parse

    try:
        options = parse(given)
    except UsageError as error:
        print(f"{error}\nFor complete USAGE and HELP type: {program} --help", file=sys.stderr)
        return 1
    if not options.config_path and not options.config_yaml:
        found = None if options.demo else next((path for path in CONFIG_PATHS if os.path.isfile(path)), None)
        if found is not None:
            options.config_path = found
        elif options.mode == "serve":
            options.demo = True
    elif options.demo:
        print("error: --demo cannot be combined with a configuration", file=sys.stderr)
        return 1

    from outrider.server import run

    run.choose_base_id(options)
    if options.enable_core_dump:
        run.enable_core_dumps()
    if options.demo:
        from outrider.demo.quickstart import run_demo

        return run_demo(options)
    if options.mode == "validate":
        return run.validate(options)
    return run.serve(options)


if __name__ == "__main__":
    raise SystemExit(main())
