"""Keyspaces: named sets of keys with settings of their own, made, changed and dropped while the cluster runs.

A change is decided by the voters of the cluster as its next topology epoch.  When a call returns, every node
serves the keyspace as it is then, and so does this client.  All calls can be made again.  Who
changes a keyspace that is there names it by its id, and each request says which epoch this client knew when
it was sent: one that lies at a node while the keyspace is changed is refused there, and one whose caller
still waits is sent again under a newer epoch, unless it may have been made (rule T12:
docs/protocol/topology.md).  Promises: docs/guarantees.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, TypeVar

from google.protobuf.message import Message

from ringmill.client.arguments import (
    Durability,
    Seconds,
    checked_durability,
    checked_name,
    checked_timeout_s,
    checked_ttl_ms,
)
from ringmill.client.routing.links import LIST_KEYSPACES, Method
from ringmill.client.routing.retries import FIRST_PAUSE_S, LONGEST_PAUSE_S, is_worth_sending
from ringmill.client.routing.router import Prepare, Router
from ringmill.cluster.errors import InvalidArgument, RingmillError, WrongEpoch
from ringmill.cluster.wire.stubs import keyspaces_pb2 as pb

__all__ = ["AsyncKeyspaces", "KeyspaceInfo", "Quorum"]

_PATH: Final = "/ringmill.v1.Keyspaces/"
_CREATE: Final = Method(f"{_PATH}Create", "", pb.KeyspaceAnswer, is_write=True)
_ALTER: Final = Method(f"{_PATH}Alter", "", pb.KeyspaceAnswer, is_write=True)
_DROP: Final = Method(f"{_PATH}Drop", "", pb.KeyspaceAnswer, is_write=True)
_MOST_OWNERS: Final = 1000
Quorum: TypeAlias = Literal["strict", "sloppy"]
Answer = TypeVar("Answer", pb.KeyspaceAnswer, pb.ListKeyspacesResponse)


@dataclass(frozen=True, slots=True)
class KeyspaceInfo:
    """The settings of a keyspace in topology `epoch`.

    `ttl_s` 0 means that values do not expire.  `made_in` is the epoch that made it.  `changed` is whether the
    call that returned this has changed it: False when it was so before.
    """

    name: str
    kind: str
    policy: str
    r: int
    w: int
    ttl_s: float
    durability: str
    quorum: str
    made_in: int
    epoch: int
    changed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


class AsyncKeyspaces:
    """The keyspaces of a cluster.

    Every change raises QuorumNotReached, which names the voters that did not answer, DeadlineExceeded or
    Unavailable; with the outcome "unknown" it may have been made, or may still be, until the keyspace is
    changed otherwise.  WrongEpoch, when others change it each time before until the deadline: make the call
    again.
    """

    def __init__(self, router: Router) -> None:
        self._router = router

    def __repr__(self) -> str:
        return "<keyspaces>"

    async def create(
        self,
        name: str,
        *,
        kind: str = "objects",
        policy: str = "siblings",
        r: int | None = None,
        w: int | None = None,
        ttl: Seconds | None = None,
        durability: Durability | None = None,
        quorum: Quorum = "strict",
        timeout: Seconds | None = None,
    ) -> KeyspaceInfo:
        """Make a keyspace; one that exists with these settings is fine, and `changed` is False then.

        `kind` is "objects" or "registers".  `policy` is "siblings", "lww" (of concurrent writes the last
        one is shown), "counter", "set" or "map" (client/merging/mergeables.py).  `r`, `w`, `ttl` and
        `durability` are what its requests mean when they do not say; `r` and `w` are majorities unless
        given.  With `quorum` "sloppy" other nodes stand in for owners that cannot be reached: writes and
        reads go on, and reads may miss writes for a while.  It cannot be changed.

        Raises Conflict when it exists with other settings, InvalidArgument.
        """
        settings = pb.KeyspaceSettings(
            name=checked_name("name", name),
            kind=checked_name("kind", kind),
            policy=checked_name("policy", policy),
            r=_checked_owners("r", r) or 0,
            w=_checked_owners("w", w) or 0,
            ttl_ms=checked_ttl_ms(ttl),
            durability=checked_durability(durability),
            quorum=checked_name("quorum", quorum),
        )

        asked = _AskedUnder()

        def prepare(epoch: int, timeout_ms: int, attempt: int) -> Message:
            under = asked.under(epoch, attempt)
            return pb.CreateKeyspaceRequest(settings=settings, timeout_ms=timeout_ms, epoch=under)

        left = self._time(timeout)
        if not self._router.directory.asked_epoch:
            await self._router.directory.learn(left())
        return _info(await self._ask(_CREATE, prepare, left()))

    async def alter(
        self,
        name: str,
        *,
        r: int | None = None,
        w: int | None = None,
        ttl: Seconds | None = None,
        durability: Durability | None = None,
        timeout: Seconds | None = None,
    ) -> KeyspaceInfo:
        """Change what requests of a keyspace mean when they do not say; what is not given stays.

        A `ttl` of 0 means that values do not expire; values that are there keep theirs.  Raises
        InvalidArgument for a keyspace that does not exist, and for another `r` or `w` than it has: these
        cannot be changed; Conflict when it was dropped meanwhile and another one has its name.
        """
        request = pb.AlterKeyspaceRequest(
            name=checked_name("name", name), r=_checked_owners("r", r), w=_checked_owners("w", w)
        )
        if ttl is not None:
            request.ttl_ms = 0 if ttl in (0, timedelta(0)) else checked_ttl_ms(ttl)
        if durability is not None:
            request.durability = checked_durability(durability)

        asked = _AskedUnder()

        def prepare(epoch: int, timeout_ms: int, attempt: int) -> Message:
            sent = pb.AlterKeyspaceRequest(timeout_ms=timeout_ms, epoch=asked.under(epoch, attempt))
            sent.MergeFrom(request)
            return sent

        left = self._time(timeout)
        meant = await self._find_named(name, left())
        request.made_in, request.ordinal = meant.made_in, meant.ordinal
        return _info(await self._ask(_ALTER, prepare, left()))

    async def drop(self, name: str, *, timeout: Seconds | None = None) -> int:
        """Take a keyspace away: its keys cannot be reached any more, by anybody.

        Returns the topology epoch in which it is gone.  A keyspace that is made later under the same name is
        another one, and empty.  Raises InvalidArgument for one that does not exist, and for `default` and
        `registers`, which every cluster has; Conflict when it was dropped meanwhile and another one has its
        name.
        """
        checked_name("name", name)
        left = self._time(timeout)
        meant = await self._find_named(name, left())

        def prepare(epoch: int, timeout_ms: int, attempt: int) -> Message:
            return pb.DropKeyspaceRequest(
                name=name,
                attempt=attempt,
                timeout_ms=timeout_ms,
                made_in=meant.made_in,
                ordinal=meant.ordinal,
                epoch=epoch,
            )

        return int((await self._ask(_DROP, prepare, left())).epoch)

    async def list(self, *, timeout: Seconds | None = None) -> list[KeyspaceInfo]:
        """All keyspaces, in the order in which they were made, with every change that was answered before."""
        answer = await self._list(self._time(timeout)())
        return [_info_of(settings, answer.epoch) for settings in answer.keyspaces]

    async def show(self, name: str, *, timeout: Seconds | None = None) -> KeyspaceInfo:
        """One keyspace.  Raises InvalidArgument, which lists those that exist."""
        checked_name("name", name)
        answer = await self._list(self._time(timeout)())
        return _info_of(_found(name, answer), answer.epoch)

    async def _find_named(self, name: str, timeout_s: float) -> pb.KeyspaceSettings:
        """Find the keyspace that a change means: a late request must not change another one of that name.

        Raises InvalidArgument, and what `_ask` raises: nothing was changed.
        """
        try:
            return _found(name, await self._list(timeout_s))
        except RingmillError as error:
            raise error.with_outcome("failed") from error

    async def _list(self, timeout_s: float) -> pb.ListKeyspacesResponse:
        def prepare(epoch: int, timeout_ms: int, attempt: int) -> Message:
            return pb.ListKeyspacesRequest(timeout_ms=timeout_ms)

        return await self._ask(LIST_KEYSPACES, prepare, timeout_s)

    def _time(self, timeout: Seconds | None) -> Callable[[], float]:
        """Tells how many seconds of it are left."""
        timeout_s = self._router.timeout_s if timeout is None else checked_timeout_s(timeout)
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        return lambda: until - loop.time()

    async def _ask(self, method: Method[Answer], prepare: Prepare, timeout_s: float) -> Answer:
        """Send it, and learn the topology in which it is so."""
        left = self._time(timeout_s)
        bound_s = FIRST_PAUSE_S
        while True:
            try:
                answer = await self._router.ask(method, prepare, timeout_s=left())
                break
            except WrongEpoch as error:  # each refusal means that another one was made
                pause_s = bound_s * self._router.entropy.uniform("client.retry")
                if error.outcome != "failed" or not is_worth_sending(left() - pause_s, timeout_s):
                    raise
            await asyncio.sleep(pause_s)
            bound_s = min(2 * bound_s, LONGEST_PAUSE_S)
        await self._router.directory.catch_up(answer.epoch, left())
        return answer


class _AskedUnder:
    """The epoch under which a change is sent that would be made anew if it were sent under a newer one.

    Once an attempt may have been made, whoever changed the keyspace since may have seen it: the next one goes
    out under the same epoch.  A node that finds all as wanted answers it, and no node makes it over theirs.
    """

    def __init__(self) -> None:
        self._epoch = 0

    def under(self, newest: int, attempt: int) -> int:
        if not attempt:
            self._epoch = newest
        return self._epoch


def _found(name: str, answer: pb.ListKeyspacesResponse) -> pb.KeyspaceSettings:
    """Raises InvalidArgument."""
    found = {settings.name: settings for settings in answer.keyspaces}
    if name not in found:
        raise InvalidArgument(
            f"there is no keyspace {name[:80]!r}", hint=f"there are: {', '.join(found)[:400]}"
        )
    return found[name]


def _checked_owners(name: str, level: int | None) -> int | None:
    if level is None:
        return None
    if type(level) is not int or not 1 <= level <= _MOST_OWNERS:
        raise InvalidArgument(f"{name} is {level!r:.40}: a keyspace has a number of owners, at least 1")
    return level


def _info(answer: pb.KeyspaceAnswer) -> KeyspaceInfo:
    return _info_of(answer.settings, answer.epoch, changed=answer.changed)


def _info_of(settings: pb.KeyspaceSettings, epoch: int, *, changed: bool = False) -> KeyspaceInfo:
    return KeyspaceInfo(
        settings.name,
        settings.kind,
        settings.policy,
        settings.r,
        settings.w,
        settings.ttl_ms / 1000,
        settings.durability,
        settings.quorum or "strict",
        settings.made_in,
        epoch,
        changed,
    )
