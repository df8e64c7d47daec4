"""What a touch keeps: the value that its coordinator has read, of a key that has one value.

A touch is a read and a write in one request.  Siblings are for their writer to resolve, so they are not
touched (rule V11: docs/protocol/versions.md).  Pure.
"""

from __future__ import annotations

from ringmill.cluster.errors import NotFound, UnresolvedSiblings
from ringmill.cluster.versions.objects import StoredObject

__all__ = ["kept_value"]


def kept_value(policy: str, present: StoredObject, wall_ms: int) -> bytes:
    """The one value that a reader of a keyspace of this policy gets.

    Raises NotFound when there is none, UnresolvedSiblings when there are several.
    """
    shown = present.shown(policy, wall_ms)
    if not shown:
        raise NotFound("the key has no value to touch", hint="put one, with the ttl it is to have")
    if len(shown) > 1:
        raise UnresolvedSiblings(
            f"the key holds {len(shown)} values: a touch does not choose one of them",
            detail={"siblings": len(shown), "dots": [str(sibling.dot) for sibling in shown]},
            hint="get the key, and put one merged value with the context of that answer and the ttl",
        )
    value = shown[0].value
    assert value is not None, "a reader gets no tombstone"
    return value
