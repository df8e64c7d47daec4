"""What a user may name as the place of traces.  It loads nothing of OpenTelemetry."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ringmill.cluster.errors import InvalidArgument

__all__ = ["checked_trace_place", "file_of_traces"]

_FILE: Final = "file:"
_COLLECTOR_PATH: Final = "/v1/traces"  # of OTLP over HTTP
_NEEDED: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def checked_trace_place(origin: str, text: str) -> str:
    """The place with an absolute path, or the whole URL.

    Raises InvalidArgument, which names `origin`, for one that is none, and where OpenTelemetry is missing.
    """
    if file := text.removeprefix(_FILE) if text.startswith(_FILE) else "":
        place = f"{_FILE}{Path(file).absolute()}"
    else:
        url = urlsplit(text)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise InvalidArgument(
                f"{origin} {text[:80]!r}: file:PATH, or the URL of a collector",
                hint="a collector of OpenTelemetry on this machine listens at http://127.0.0.1:4318",
            )
        place = text if url.path.strip("/") else url._replace(path=_COLLECTOR_PATH).geturl()
    if not all(map(_is_there, _NEEDED)):
        raise InvalidArgument(
            f"{origin} needs OpenTelemetry, which is not installed", hint="pip install 'ringmill[otel]'"
        )
    return place


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


def file_of_traces(place: str) -> str:
    """The path; "" where it is a URL."""
    return place.removeprefix(_FILE) if place.startswith(_FILE) else ""
