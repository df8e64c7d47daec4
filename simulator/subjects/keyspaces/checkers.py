"""C18: each epoch has one document, derived from the one before, and what was answered is in them.

A create and an alter have a ttl that no other call has, so a document shows who made what is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ring.succession import check_next
from ringmill.cluster.ring.topology import KeyspaceEntry, Topology
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.subjects.keyspaces.record import Adopted, KeyspaceCall

__all__ = ["check_documents", "check_newest", "check_rivals", "check_stolen"]

_MOST_SEATS: Final = 2
"""Entries of members, and of voters, that one of two documents has: one comes, leaves, or gets another disk
or state, and the vote of one passes to another or the votes become two more."""

_WITH_ARTICLE: Final = {"create": "a create", "alter": "an alter", "drop": "a drop"}


def check_documents(adopted: Sequence[Adopted], calls: Sequence[KeyspaceCall]) -> Iterator[Violation]:
    for story in _broken(adopted, calls):
        yield Violation("C18", b"", story)
    for call in calls:
        if call.is_of_core and call.outcome != "ok":
            yield Violation(
                "C17", call.name.encode(), f"{call.kind} of a keyspace ended as {call.outcome}: {call.error}"
            )


def check_newest(held: dict[str, int], adopted: Sequence[Adopted]) -> Iterator[Violation]:
    """After healing every node holds the newest document that any node ever held."""
    newest = max((each.topology.epoch for each in adopted), default=0)
    for node, epoch in sorted(held.items()):
        if epoch < newest:
            yield Violation("C18", b"", f"{node} holds epoch {epoch} in the end, the newest is {newest}")


def check_rivals(served: dict[str, str]) -> Iterator[Violation]:
    """When two clusters are formed of the same nodes at once, one counts; `served` names each node's."""
    if len(set(served.values())) > 1:
        clusters = ", ".join(f"{node} in {cluster}" for node, cluster in sorted(served.items()))
        yield Violation("C18", b"", f"nodes serve in two clusters that were formed at once: {clusters}")
    if not served:
        yield Violation("C18", b"", "two clusters were formed of the same nodes at once, and none serves")


def check_stolen(let_in: Sequence[str]) -> Iterator[Violation]:
    """A join token lets one disk in; `let_in` are those that it has let in beside that one."""
    for disk in let_in:
        yield Violation("C18", b"", f"a join token that was used has given the secret to disk {disk}")


def _broken(adopted: Sequence[Adopted], calls: Sequence[KeyspaceCall]) -> Iterator[str]:
    documents: dict[int, Adopted] = {}
    for each in adopted:
        first = documents.setdefault(each.topology.epoch, each)
        if first.topology != each.topology:
            yield f"{first.node} and {each.node} hold different documents of epoch {each.topology.epoch}"
            return
    chain = {epoch: each.topology for epoch, each in documents.items()}
    yield from _derived(chain)
    yield from _answered(chain, calls)
    yield from _in_turn(chain, calls)
    yield from _once(chain, calls)
    yield from _in_time(calls)
    yield from _certain(chain, calls)


def _derived(chain: dict[int, Topology]) -> Iterator[str]:
    """Each document is the one before with one change."""
    for epoch in sorted(chain):
        if epoch == 1:
            continue
        if epoch - 1 not in chain:
            yield f"epoch {epoch} is held, and nobody ever held epoch {epoch - 1}"
            continue
        try:
            check_next(chain[epoch - 1], chain[epoch])
        except InvalidArgument as error:
            yield f"epoch {epoch} does not follow from epoch {epoch - 1}: {error.message}"
        if not _is_one_change(chain[epoch - 1], chain[epoch]):
            yield f"epoch {epoch} is not one change of epoch {epoch - 1}"


def _is_one_change(before: Topology, after: Topology) -> bool:
    """A keyspace was made, changed or dropped and all else is the same; or none was, and rows or seats were
    changed."""
    keyspaces = set(before.keyspaces) ^ set(after.keyspaces)
    members = set(before.members) ^ set(after.members)
    voters = set(before.voters) ^ set(after.voters)
    is_rest_same = (before.rows, before.is_paused) == (after.rows, after.is_paused)
    if keyspaces:
        is_one = len(keyspaces) <= 2 or _is_flip(before, after)
        return is_one and is_rest_same and not members and not voters
    is_changed = bool(members or voters or not is_rest_same)
    return is_changed and len(members) <= _MOST_SEATS and len(voters) <= _MOST_SEATS


def _is_flip(before: Topology, after: Topology) -> bool:
    """A job has filled a keyspace, which takes the name and the place of another one."""
    gone, come = set(before.keyspaces) - set(after.keyspaces), set(after.keyspaces) - set(before.keyspaces)
    if len(come) != 1:
        return False
    (shown,) = come
    filled = [each for each in gone if replace(each, name=shown.name) == shown]
    former = [each for each in gone if each.name == shown.name]
    return len(filled) == len(former) == 1 and len(gone) == 2


def _answered(chain: dict[int, Topology], calls: Sequence[KeyspaceCall]) -> Iterator[str]:
    """The document of the answer's epoch has the change; later ones differ only by later changes."""
    newest = max(chain, default=0)
    for call in calls:
        if call.outcome != "ok" or call.kind == "list":
            continue
        topology = chain.get(call.epoch)
        if topology is None:
            yield f"a {call.kind} of {call.name} was answered in epoch {call.epoch}, the newest is {newest}"
        elif (
            _stands(chain, topology, call, calls) if call.kind == "drop" else not _has(chain, topology, call)
        ):
            yield f"a {call.kind} of {call.name} was answered in epoch {call.epoch}, and is not in it"


def _stands(
    chain: dict[int, Topology], topology: Topology, drop: KeyspaceCall, calls: Sequence[KeyspaceCall]
) -> bool:
    """Whether the keyspace that a drop meant is there, and not one that was made under its name meanwhile."""
    if not topology.has_keyspace(drop.name):
        return False
    maker = _maker(chain, topology.keyspace_named(drop.name), calls)
    return maker is None or (maker.returned is not None and maker.returned < drop.invoked)


def _in_turn(chain: dict[int, Topology], calls: Sequence[KeyspaceCall]) -> Iterator[str]:
    """No change is made over one that was asked for when all who may have asked for it were over (T12)."""
    # By keyspace: when one of its changes so far was asked for, at the earliest.
    latest: dict[str, float] = {}
    for epoch in sorted(chain):
        if epoch - 1 not in chain:
            continue
        for name, kind, askers in _changes(chain, epoch, calls):
            asked = latest.get(name, 0.0)
            is_over = all(each.returned is not None and each.returned < asked for each in askers)
            if is_over and (askers or kind == "drop"):
                yield (
                    f"epoch {epoch} has {_WITH_ARTICLE[kind]} of keyspace {name}, and every one that may be "
                    "it was over when an earlier change of it was asked for"
                )
            latest[name] = max(asked, min((each.invoked for each in askers), default=asked))


def _once(chain: dict[int, Topology], calls: Sequence[KeyspaceCall]) -> Iterator[str]:
    """No create or alter is made a second time, over a change that came after the first (T12)."""
    made_in: dict[tuple[str, int], int] = {}
    for epoch in sorted(chain):
        if epoch - 1 not in chain:
            continue
        for name, kind, _ in _changes(chain, epoch, calls):
            if kind == "drop":
                continue
            mine = (name, chain[epoch].keyspace_named(name).ttl_ms)
            first = made_in.setdefault(mine, epoch)
            if first != epoch:
                yield f"epoch {epoch} has {_WITH_ARTICLE[kind]} of keyspace {name} that epoch {first} had"


def _changes(
    chain: dict[int, Topology], epoch: int, calls: Sequence[KeyspaceCall]
) -> Iterator[tuple[str, str, list[KeyspaceCall]]]:
    """The keyspaces that operators have changed in an epoch: how, and the calls that may have done it."""
    before, after = ({each.name: each for each in _made(chain[at], chain)} for at in (epoch - 1, epoch))
    for name in {**before, **after}:
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        kind = "drop" if now is None else ("create" if was is None or was.id != now.id else "alter")
        ttl_ms = None if now is None else now.ttl_ms
        askers = [
            each
            for each in calls
            if (each.name, each.kind) == (name, kind)
            and each.outcome in ("ok", "unknown")
            and ttl_ms in (None, each.ttl_ms)
        ]
        yield name, kind, askers


def _maker(
    chain: dict[int, Topology], made: KeyspaceEntry, calls: Sequence[KeyspaceCall]
) -> KeyspaceCall | None:
    """The create that made a keyspace, told by the ttl that it had at first; None: not known."""
    then = chain.get(made.id.epoch)
    ttl_ms = next((each.ttl_ms for each in then.keyspaces if each.id == made.id), None) if then else None
    return next((call for call in calls if call.kind == "create" and call.ttl_ms == ttl_ms), None)


def _in_time(calls: Sequence[KeyspaceCall]) -> Iterator[str]:
    """Whoever asks after an answer came is told of its epoch, or of a later one."""
    ends = sorted((call.returned, call.epoch) for call in calls if _tells(call) and call.returned is not None)
    newest, at = 0, 0
    for call in sorted(calls, key=lambda each: each.invoked):
        while at < len(ends) and ends[at][0] < call.invoked:
            newest = max(newest, ends[at][1])
            at += 1
        if _tells(call) and call.epoch < newest:
            yield f"a {call.kind} told epoch {call.epoch} after epoch {newest} had been told"


def _certain(chain: dict[int, Topology], calls: Sequence[KeyspaceCall]) -> Iterator[str]:
    """What failed for certain is in no document, and what is in one was asked for."""
    may_be = {call.ttl_ms for call in calls if call.outcome in ("ok", "unknown")}
    for epoch, topology in sorted(chain.items()):
        for keyspace in _made(topology, chain):
            if keyspace.ttl_ms not in may_be:
                yield f"epoch {epoch} has keyspace {keyspace.name} as a call that failed for certain made it"


def _made(topology: Topology, chain: dict[int, Topology]) -> list[KeyspaceEntry]:
    """Keyspaces that operators have made.  Jobs replace some of those that were there from the first on."""
    own = {each.name for each in chain[min(chain)].keyspaces if each.id.epoch == 1}
    made = (each for each in topology.keyspaces if each.id.epoch > 1)
    return [each for each in made if each.name.partition(".")[0] not in own]


def _has(chain: dict[int, Topology], topology: Topology, call: KeyspaceCall) -> bool:
    return any((each.name, each.ttl_ms) == (call.name, call.ttl_ms) for each in _made(topology, chain))


def _tells(call: KeyspaceCall) -> bool:
    return call.outcome == "ok"
