"""`python -m examples.control_plane --listen HOST:PORT FOLDER`: serves the resources in a folder's YAML files.

Each file holds `resources:`, a list of messages with their `@type`. A changed file is served within a second.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

import yaml
from examples.control_plane.resources import WILDCARD_TYPES
from examples.control_plane.server import ControlPlane
from examples.control_plane.snapshot import SnapshotCache

from outrider.config.errors import ConfigError

_POLL_S = 0.5


def read_folder(folder: Path) -> dict[str, list[dict[str, object]]]:
    """The resources of all files, by type. Raises ValueError with the file's name."""
    found: dict[str, list[dict[str, object]]] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            content = yaml.safe_load(path.read_text()) or {}
            for resource in content["resources"]:
                tree = dict(resource)
                type_name = str(tree.pop("@type")).rpartition("/")[2]
                found.setdefault(type_name, []).append(tree)
        except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error!r}") from None
    return found


def state_of(folder: Path) -> tuple[tuple[str, int], ...]:
    """Something that differs when a file has changed."""
    return tuple((path.name, path.stat().st_mtime_ns) for path in sorted(folder.glob("*.yaml")))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.control_plane", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:18000", metavar="HOST:PORT")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    cache = SnapshotCache()
    server = ControlPlane(cache)
    server.start(arguments.listen)
    logging.info("serving %s at %s", arguments.folder, arguments.listen)
    # Who asks for all clusters or listeners is told when there are none, too: proxies wait for that word.
    served: dict[str, list[dict[str, object]]] = {each: [] for each in WILDCARD_TYPES}
    seen: object = None
    try:
        while True:
            state = state_of(arguments.folder)
            if state != seen:
                seen = state
                try:
                    found = read_folder(arguments.folder)
                    # A type whose last resource went away is served as empty.
                    version = cache.set_all({**{each: [] for each in served}, **found})
                    served = {**{each: [] for each in WILDCARD_TYPES}, **found}
                    logging.info("version %s: %d resources", version, sum(map(len, found.values())))
                except (ValueError, ConfigError) as error:
                    logging.error("kept as it was: %s", error)
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
