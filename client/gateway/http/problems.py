"""What went wrong, as RFC 9457 tells it: application/problem+json, made of the one table of errors.

`HttpRefusal` is for what only HTTP knows: a path that does not exist, a body that is too large.  Whatever the
cluster says comes as a RingmillError and keeps its code, its hint and its outcome.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

from ringmill.cluster.errors import NotFound, Overloaded, PermissionDenied, RingmillError

__all__ = [
    "HttpRefusal", "PROBLEM_TYPE", "challenge", "http_refusal_of", "is_of_ended_token", "problem_answer",
    "problem_document",
]  # fmt: skip

PROBLEM_TYPE = "application/problem+json"
_IS_OVER = ("revoked", "expired")  # as nodes tell it of a token
_OPENS_NOTHING = ("unknown", *_IS_OVER)


class HttpRefusal(Exception):
    """A request that the gateway itself refuses.  Nothing of it was sent to the cluster."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
        outcome: str = "failed",
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.headers = dict(headers or {})
        self.outcome = outcome
        self.detail = dict(detail or {})


def http_refusal_of(error: RingmillError, *, has_token: bool) -> HttpRefusal:
    """An error in the form that HTTP gives it.

    A caller who may not ask gets 401 when it has shown no token or one that opens nothing, as another one may
    help, and 403 when its token is good for less (RFC 6750).  A cluster that is overloaded says when to come
    again.
    """
    status, headers = error.http_status, {}
    if isinstance(error, PermissionDenied):
        is_bad = error.detail.get("token") in _OPENS_NOTHING
        if is_bad or not has_token:
            status, headers = HTTPStatus.UNAUTHORIZED, challenge(is_bad_token=has_token)
    if isinstance(error, Overloaded):
        headers = {"Retry-After": str(max(1, round(error.retry_after)))}
    hint = "" if isinstance(error, NotFound) else error.hint  # it names a command of this machine
    if isinstance(error, PermissionDenied):
        hint = "show a token that may: Authorization: Bearer TOKEN"
    return HttpRefusal(
        status,
        error.code,
        error.message or error.code,
        hint=hint,
        headers=headers,
        outcome=error.outcome,
        detail=error.detail,
    )


def is_of_ended_token(error: RingmillError) -> bool:
    """Whether a node has refused the token once and for all, and not what was asked with it."""
    return isinstance(error, PermissionDenied) and error.detail.get("token") in _IS_OVER


def challenge(*, is_bad_token: bool = False) -> dict[str, str]:
    """The header that goes with 401 (RFC 6750)."""
    error = ', error="invalid_token"' if is_bad_token else ""
    return {"WWW-Authenticate": f'Bearer realm="ringmill"{error}'}


def problem_answer(refusal: HttpRefusal, request_id: str) -> web.Response:
    """The answer that tells it."""
    document = problem_document(refusal, request_id)
    body = json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    return web.Response(status=refusal.status, body=body, content_type=PROBLEM_TYPE, headers=refusal.headers)


def problem_document(refusal: HttpRefusal, request_id: str = "") -> dict[str, Any]:
    """The members of RFC 9457, and ours: `code` and `outcome` are those of the error, `facts` its detail."""
    document: dict[str, Any] = {
        "type": f"urn:ringmill:error:{refusal.code.lower()}",
        "title": HTTPStatus(refusal.status).phrase,
        "status": int(refusal.status),
        "detail": refusal.message,
        "code": refusal.code,
        "outcome": refusal.outcome,
    }
    optional = {"request_id": request_id, "hint": refusal.hint, "facts": refusal.detail}
    document |= {name: value for name, value in optional.items() if value}
    plain: dict[str, Any] = json.loads(json.dumps(document, default=_plain))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return list(value) if isinstance(value, tuple | set | frozenset) else str(value)
