"""Which release of Ringmill this process runs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["own_version"]


def own_version() -> str:
    """The version of the installed distribution; "unknown" where the source is used without one."""
    try:
        return version("ringmill")
    except PackageNotFoundError:
        return "unknown"
