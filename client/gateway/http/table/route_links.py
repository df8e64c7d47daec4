"""Which request may follow an answer, as OpenAPI links: tools follow them, and people read them.

A link takes its parameters from the request that was answered, or from the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["LINKS", "RouteLink", "links_document"]


@dataclass(frozen=True, slots=True)
class RouteLink:
    """`parameters` of the operation that follows, by name: an expression of OpenAPI for each."""

    operation: str
    about: str
    parameters: Mapping[str, str]


_KEY: Final = {"keyspace": "$request.path.keyspace", "key": "$request.path.key"}
_KEYSPACE: Final = {"keyspace": "$request.path.keyspace"}
_JOB: Final = {"job": "$response.body#/job"}
_SAME_JOB: Final = {"job": "$request.path.job"}
_FIRST_PART: Final = "$response.body#/parts/0/name"
_SEEN: Final = {**_KEY, "If-Match": "$response.header.ETag"}

LINKS: Final[Mapping[str, Sequence[RouteLink]]] = {
    "putKey": (
        RouteLink("getKey", "Read the key that was written.", _KEY),
        RouteLink("deleteKey", "Delete the key that was written.", _KEY),
        RouteLink("touchKey", "Give the value another expiry.", _KEY),
    ),
    "getKey": (
        RouteLink("putKey", "Replace what was read, and nothing else.", _SEEN),
        RouteLink("deleteKey", "Delete what was read, and nothing else.", _SEEN),
    ),
    "deleteKey": (RouteLink("getKey", "It is not found, unless somebody wrote it meanwhile.", _KEY),),
    "setRegister": (
        RouteLink("getRegister", "Read the register that was set.", _KEY),
        RouteLink("deleteRegister", "Delete it if it still has this version.", _SEEN),
    ),
    "getRegister": (RouteLink("setRegister", "Set it if it still has this version.", _SEEN),),
    "addToRegister": (RouteLink("getRegister", "Read the register.", _KEY),),
    "addToCounter": (RouteLink("getCounter", "Read the count.", _KEY),),
    "addToSet": (
        RouteLink("getSet", "Read the set.", _KEY),
        RouteLink("removeFromSet", "Delete the set.", _KEY),
    ),
    "putMapEntry": (
        RouteLink("getMap", "Read the map.", _KEY),
        RouteLink("removeFromMap", "Delete the map.", _KEY),
    ),
    "createKeyspace": (
        RouteLink("getKeyspace", "Show the keyspace.", _KEYSPACE),
        RouteLink("scanKeys", "Read its keys.", _KEYSPACE),
        RouteLink("dropKeyspace", "Take it away again.", _KEYSPACE),
    ),
    "submitJob": (
        RouteLink("getJob", "Show the job.", _JOB),
        RouteLink("followJob", "Follow it to its end.", _JOB),
        RouteLink("listJobParts", "List the part files of its output, once it has ended.", _JOB),
        RouteLink("getJobLogs", "Read what its attempts printed.", _JOB),
        RouteLink("pauseJob", "Pause it.", _JOB),
        RouteLink("killJob", "Stop it.", _JOB),
    ),
    "pauseJob": (RouteLink("resumeJob", "Let it go on.", _SAME_JOB),),
    "listJobParts": (RouteLink("getJobPart", "Read the first part.", {**_SAME_JOB, "part": _FIRST_PART}),),
}
"""By the name of the route that was answered with success."""


def links_document(name: str) -> dict[str, Any]:
    """The links of the answers of a route, by the name of the operation that follows; empty for none."""
    return {
        link.operation: {
            "operationId": link.operation,
            "description": link.about,
            "parameters": dict(link.parameters),
        }
        for link in LINKS.get(name, ())
    }
