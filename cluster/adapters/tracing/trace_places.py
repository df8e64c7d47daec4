"""What a user may name as the place of traces.  It loads nothing of OpenTelemetry."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

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
        url = _checked_url(origin, text)
        place = text if url.path.strip("/") else url._replace(path=_COLLECTOR_PATH).geturl()
    if not all(map(_is_there, _NEEDED)):
        raise InvalidArgument(
            f"{origin} needs OpenTelemetry, which is not installed", hint="pip install 'ringmill[otel]'"
        )
    return place


def _checked_url(origin: str, text: str) -> SplitResult:
    """The URL of a collector.  Raises InvalidArgument; the place is logged, so it has no password."""
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise InvalidArgument(
            f"{origin}: the URL of a collector has no user or password in it",
            hint="headers for a collector are in OTEL_EXPORTER_OTLP_HEADERS",
        )
    try:
        url = urlsplit(text)
        is_one = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError as error:  # such as a port that is not a number
        raise InvalidArgument(f"{origin} {text[:80]!r}: {error}") from None
    if not is_one:
        raise InvalidArgument(
            f"{origin} {text[:80]!r}: file:PATH, or the URL of a collector",
            hint="a collector of OpenTelemetry on this machine listens at http://127.0.0.1:4318",
        )
    return url


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


def file_of_traces(place: str) -> str:
    """The path; "" where it is a URL."""
    return place.removeprefix(_FILE) if place.startswith(_FILE) else ""
