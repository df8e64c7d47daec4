"""How a failure is told: three lines for people (what, why, what to try), JSON on stderr for programs."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

from client.cli.exit_codes import ExitCode
from client.cli.settings import Settings
from cluster.errors import NotFound, QuorumNotReached, RingmillError

__all__ = ["tell"]

_DEFAULT_HINTS = {
    "INVALID_ARGUMENT": "`ringmill --help`, or --help after a verb, lists what is taken",
    "DEADLINE_EXCEEDED": "a longer --timeout, or `ringmill cluster status` to see who is down",
    "UNAVAILABLE": "`ringmill cluster status`, or `ringmill cluster up`",
    "WRONG_EPOCH": "run the command again: the topology moved on",
    "OVERLOADED": "try again in a moment",
    "PERMISSION_DENIED": "the cluster's token: --cluster NAME of a local cluster, or RINGMILL_TOKEN",
    "CORRUPT_DATA": "`ringmill cluster logs` names the file",
}
_ANY_HINT = "--debug shows a trace, `ringmill cluster logs` what the nodes say"


def tell(error: RingmillError, code: ExitCode, settings: Settings) -> None:
    """Write one error to stderr in the form that was asked for."""
    hint = error.hint or _DEFAULT_HINTS.get(error.code, _ANY_HINT)
    if settings.output == "json":
        document = {
            "code": error.code,
            "exit": int(code),
            "message": error.message,
            "detail": error.detail,
            "hint": hint,
            "outcome": error.outcome,
        }
        print(json.dumps({"error": document}, ensure_ascii=False, default=_plain), file=sys.stderr)
        return
    for line in (f"error: {error.message or error.code}", f"  why: {_why(error)}", f"  try: {hint}"):
        print(line, file=sys.stderr)


def _why(error: RingmillError) -> str:
    parts = [f"{error.code}, {_outcome(error)}"]
    if isinstance(error, QuorumNotReached):
        failed = ", ".join(f"{node} ({why})" for node, why in sorted(error.failed.items()))
        parts = [
            f"acked by {', '.join(error.acked) or 'nobody'}; not by {failed or 'anybody else'}",
            _outcome(error),
        ]
    elif isinstance(error, NotFound) and error.detail.get("answered"):
        parts = [f"{', '.join(error.detail['answered'])} answered, none holds a value"]
    elif "address" in error.detail:
        parts.append(f"said by {error.detail['address']}")
    tried = error.detail.get("tried", [])
    if len(tried) > 1:
        parts.append(f"asked {', '.join(tried)}")
    return "; ".join(parts)


def _outcome(error: RingmillError) -> str:
    if "changed" in error.detail:
        return str(error.detail["changed"])
    if error.outcome == "failed":
        return "nothing was changed"
    return "the outcome is unknown: it may still take effect"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return list(value) if isinstance(value, tuple | set | frozenset) else str(value)
