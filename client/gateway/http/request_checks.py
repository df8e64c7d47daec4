"""What is looked at before a request is answered: for which host it is, and which site sent it.

A browser sends requests of any page to a server on this machine.  So a gateway that listens on a loopback
address answers only to names of loopback (a page whose name was pointed at 127.0.0.1 has another one: DNS
rebinding), and a write that comes from another site's page is refused unless that site was allowed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from ringmill.client.gateway.http.problems import HttpRefusal, challenge
from ringmill.client.local.tcp_ports import is_loopback
from ringmill.cluster.errors import InvalidArgument

__all__ = ["SiteRules", "bearer_token", "checked_origin", "request_id_of"]

_SAFE: Final = ("GET", "HEAD", "OPTIONS")
_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")
_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9._-]+(?::[0-9]{1,5})?|null", re.ASCII)
_ALLOWED_HEADERS: Final = (
    "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, Last-Event-ID, X-Request-Id, "
    "traceparent"
)
_SHOWN_HEADERS: Final = (
    "Cache-Status, ETag, Idempotency-Replayed, Location, Retry-After, WWW-Authenticate, X-Request-Id"
)


def checked_origin(origin: str) -> str:
    """An origin that may be allowed, "https://example.org" or "*".  Raises InvalidArgument."""
    if origin != "*" and not _ORIGIN.fullmatch(origin):
        raise InvalidArgument(
            f"--cors-origin {origin[:80]!r} is not an origin", hint="--cors-origin https://example.org, or *"
        )
    return origin


def request_id_of(request: web.BaseRequest, made: str) -> str:
    """The caller's X-Request-Id when it is short and printable, else the one that was made."""
    given = request.headers.get("X-Request-Id", "")
    return given if _REQUEST_ID.fullmatch(given) else made


def bearer_token(request: web.BaseRequest) -> str:
    """The token of the caller; "" when it shows none.  Raises HttpRefusal for another kind of credentials."""
    given = request.headers.get("Authorization")
    if given is None:
        return ""
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise HttpRefusal(
            401, "PERMISSION_DENIED", "Authorization is not of the form: Bearer TOKEN",
            headers=challenge(),
        )  # fmt: skip
    return token.strip()


class SiteRules:
    """Which hosts and which sites' pages are answered."""

    def __init__(self, *, only_loopback: bool, cors_origins: Collection[str] = ()) -> None:
        self._only_loopback = only_loopback
        self._origins = frozenset(cors_origins)

    def check(self, request: web.BaseRequest) -> None:
        """Raises HttpRefusal 421 for another host than is served, 403 for a write from another site."""
        host = request.headers.get("Host", "")
        if self._only_loopback and not _is_of_loopback(host):
            raise HttpRefusal(
                421, "WRONG_HOST", f"Host is {host[:80]!r}; this gateway answers to names of loopback only",
                hint="ask http://localhost or http://127.0.0.1",
            )  # fmt: skip
        is_handshake = request.headers.get("Upgrade", "").lower() == "websocket"
        if request.method in _SAFE and not is_handshake:
            return
        origin = request.headers.get("Origin")
        if origin is None:
            is_foreign = request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")
        else:
            is_foreign = _site_of(origin) != host
        if is_foreign and not self._allows(origin or ""):
            raise HttpRefusal(
                403, "FOREIGN_SITE", f"a page of {(origin or 'another site')[:80]} may not write here",
                hint="`ringmill gateway --cors-origin` allows a site",
            )  # fmt: skip

    def headers(self, request: web.BaseRequest) -> dict[str, str]:
        """What lets a page of an allowed site see the answer; nothing for others."""
        origin = request.headers.get("Origin", "")
        if not origin or not self._allows(origin):
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": _SHOWN_HEADERS,
            "Vary": "Origin",
        }

    def preflight(self, request: web.BaseRequest, allowed: str) -> Mapping[str, str]:
        """The headers of an answer to OPTIONS."""
        shared = self.headers(request)
        if not shared:
            return {"Allow": allowed}
        return {
            **shared,
            "Allow": allowed,
            "Access-Control-Allow-Methods": allowed,
            "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
            "Access-Control-Max-Age": "600",
        }

    def _allows(self, origin: str) -> bool:
        return bool(origin) and (origin in self._origins or "*" in self._origins)


@lru_cache(64)
def _is_of_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is one of this machine's loopback."""
    return is_loopback(host.rpartition(":")[0] if re.search(r":[0-9]+$", host) else host)


def _site_of(origin: str) -> str:
    """Host and port of an origin; "" for what is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
