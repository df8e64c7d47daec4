"""Prints an error: three lines for people (what, why, what to try), or JSON on stderr for programs.

Two errors are declared here because only the command line raises them: a file or stream of this machine
failed, and Ctrl-C interrupted a request, which leaves its outcome unknown.
"""

from __future__ import annotations

import base64
import re
import sys
from typing import Any, ClassVar

from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.output import to_json
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.console.suggested_commands import as_typed
from ringmill.cluster.errors import NotFound, QuorumNotReached, RingmillError
from ringmill.cluster.printable import printable

__all__ = ["FileFailed", "Interrupted", "shown_error", "tell"]

_DEFAULT_HINTS = {
    "INVALID_ARGUMENT": "change the argument that the first line names; `ringmill help` lists the verbs",
    "DEADLINE_EXCEEDED": "use a longer --timeout; `ringmill cluster status` shows which nodes are down",
    "UNAVAILABLE": "see `ringmill cluster status`; `ringmill cluster up` starts a local cluster",
    "WRONG_EPOCH": "the topology has changed; run the command again",
    "OVERLOADED": "try again in a moment",
    "PERMISSION_DENIED": "give a token with --token-file or RINGMILL_TOKEN, or name a local --cluster",
    "CORRUPT_DATA": "`ringmill cluster logs` names the damaged file",
    "FILE_FAILED": "check the file or stream that the first line names",
}
_ANY_HINT = "--debug shows a trace; `ringmill cluster logs` shows the logs of the nodes"
_HINTS_ELSEWHERE = {"CORRUPT_DATA": "the logs of the nodes name the damaged file"}
"""The hint about nodes that --endpoints names: `cluster logs` is about local ones."""
_ANY_HINT_ELSEWHERE = "--debug shows a trace; the logs of the nodes may tell more"
_WITH_NAMES = re.compile(r"(.* answered) \(.*", re.DOTALL)


class FileFailed(RingmillError):
    """A file or a standard stream of this machine cannot be read or written."""

    code: ClassVar[str] = "FILE_FAILED"

    @classmethod
    def of(cls, error: OSError) -> FileFailed:
        name = f"{error.filename}: " if error.filename else ""
        return cls(f"{name}{error.strerror or error}")


class Interrupted(RingmillError):
    """Ctrl-C ended the command."""

    code: ClassVar[str] = "INTERRUPTED"
    exit_code: ClassVar[int] = 130


def shown_error(error: RingmillError | OSError) -> RingmillError:
    """The error as it is shown: an OSError becomes a FileFailed."""
    return error if isinstance(error, RingmillError) else FileFailed.of(error)


def tell(error: RingmillError, code: ExitCode, settings: Settings) -> None:
    """Write one error to stderr in the form that was asked for."""
    hint = as_typed(error.hint or _default_hint(error.code, settings), settings)
    if settings.output == "json":
        document = {
            "code": error.code,
            "exit": int(code),
            "message": error.message,
            "detail": error.detail,
            "hint": hint,
            "outcome": error.outcome,
        }
        print(to_json({"error": document}, sys.stderr, default=_plain), file=sys.stderr)
        return
    for line in (f"error: {_what(error)}", f"  why: {_why(error)}", f"  try: {hint}"):
        print(printable(line, keep="" if isinstance(error, NotFound) else "\n\t"), file=sys.stderr)


def _default_hint(code: str, settings: Settings) -> str:
    if not settings.endpoints:
        return _DEFAULT_HINTS.get(code, _ANY_HINT)
    return (_DEFAULT_HINTS | _HINTS_ELSEWHERE).get(code, _ANY_HINT_ELSEWHERE)


def _what(error: RingmillError) -> str:
    message = error.message or error.code
    if isinstance(error, QuorumNotReached) and (short := _WITH_NAMES.fullmatch(message)):
        return short[1]  # the second line has the names
    return message


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
