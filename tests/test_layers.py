"""Dependencies point one way: a folder imports only from lower ranks (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import outrider

PACKAGE = Path(outrider.__file__).resolve().parent

RANKS: dict[str, float] = {
    "registry": 0,
    "data": 1,
    "stats": 1,
    "native": 1,
    "event": 2,
    "config": 3,
    "cel": 3.5,
    "matching": 4,
    "overload": 4,
    "access_log": 5,
    "tracing": 5.5,
    "network": 6,
    "http": 7,
    "upstream": 8,
    "router": 9,
    "grpc": 10,
    "xds": 11,
    "extensions": 12,
    "server": 13,
    "demo": 14,
    "testing": 14,
    "cli": 15,
    "__main__": 16,
}
# May name types of any rank, and nothing of it runs.
ANYBODY = {"factory_context"}

# Known crossings with their reason. The list may only shrink.
EXCEPTIONS: dict[tuple[str, str], str] = {}


def module_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    """First parts of what a module imports from the package when it runs (not only for type checking)."""
    tree = ast.parse(path.read_text())
    found: list[str] = []

    def walk(body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                walk(node.orelse)
                continue
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("outrider."):
                found.append(node.module.split(".")[1])
            elif isinstance(node, ast.Import):
                found.extend(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("outrider."))
            for child in ("body", "orelse", "finalbody", "handlers"):
                inner = getattr(node, child, None)
                if isinstance(inner, list):
                    walk([each for each in inner if isinstance(each, ast.stmt)])

    walk(tree.body)
    return found


def test_every_folder_has_a_rank() -> None:
    seen = {module_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__"} - ANYBODY
    assert seen <= set(RANKS)


def test_imports_point_down() -> None:
    wrong: list[str] = []
    used: set[tuple[str, str]] = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        own = module_of(path)
        if own == "__init__" or own in ANYBODY:
            continue
        for other in imports(path):
            if other in ANYBODY or other == own or other not in RANKS:
                continue
            if RANKS[other] >= RANKS[own]:
                if (own, other) in EXCEPTIONS:
                    used.add((own, other))
                else:
                    wrong.append(f"{path.relative_to(PACKAGE)} imports {other}")
    assert wrong == []
    assert used == set(EXCEPTIONS), "an exception is no longer needed"


def test_only_event_runs_asyncio_in_workers() -> None:
    """The hot path names neither asyncio nor uvloop."""
    for folder in ("data", "stats", "matching", "access_log", "http", "router"):
        for path in (PACKAGE / folder).rglob("*.py"):
            text = path.read_text()
            assert "import uvloop" not in text, path
            if path.name != "file_writer.py":
                assert "import asyncio" not in text, path
