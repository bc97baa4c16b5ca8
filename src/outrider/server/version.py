"""What the proxy says it is: `--version`, `/server_info`, the node's user agent."""

from __future__ import annotations

from typing import Final

from outrider import __version__

REVISION: Final = "outrider"
"""Where Envoy names the commit it was built from."""

BUILD_TYPE: Final = "RELEASE"
API_VERSION: Final = (1, 40, 0)
"""The version of Envoy whose configuration and behaviour are implemented; control planes go by it."""

# Envoy's word where hot restart is off: there is no other process to be compatible with.
HOT_RESTART_VERSION: Final = "disabled"


def version_text() -> str:
    """`revision/version/status/type/TLS library`."""
    return f"{REVISION}/{__version__}/Clean/{BUILD_TYPE}/OpenSSL"


def version_line(program: str) -> str:
    return f"{program}  version: {version_text()}"


def build_version() -> dict[str, object]:
    """`node.user_agent_build_version`."""
    major, minor, patch = API_VERSION
    return {
        "version": {"major_number": major, "minor_number": minor, "patch": patch},
        "metadata": {
            "build.type": BUILD_TYPE,
            "revision.sha": REVISION,
            "revision.status": "Clean",
            "ssl.version": "OpenSSL",
            "outrider.version": __version__,
        },
    }
