"""What `explain` returns: the decisions of one read, and what each owner said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringmill.cluster.wire.stubs.explain_pb2 import ExplainedGet, ExplainedOwner

__all__ = ["Explanation", "OwnerPart", "explanation_of"]


@dataclass(frozen=True, slots=True)
class OwnerPart:
    """One owner's part in a read.  Times are in milliseconds, `asked_ms` since the read began."""

    node: str
    state: str
    asked: bool
    answered: bool
    asked_ms: float
    took_ms: float
    silent: bool
    error: str
    bytes: int
    dots: tuple[str, ...]
    same: bool
    written_back: bool
    write_back_error: str
    hinted: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """`candidates` are the addresses in the order in which this client would ask them, and why a silent one
    comes late; `coordinator` is the node that answered.  `error` is why the read failed."""

    candidates: tuple[tuple[str, bool], ...]  # address, and whether it was silent the last time
    coordinator: str
    keyspace: str
    position: int
    partition: int
    epoch: int
    row_epoch: int
    r: int
    weak: bool
    owners: tuple[OwnerPart, ...]
    fallbacks: tuple[str, ...]
    values: int
    took_ms: float
    error: str

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        document = asdict(self)
        document["candidates"] = [{"address": each, "silent": silent} for each, silent in self.candidates]
        document["fallbacks"] = list(self.fallbacks)
        document["owners"] = [{**asdict(owner), "dots": list(owner.dots)} for owner in self.owners]
        return document


def explanation_of(message: ExplainedGet, candidates: Sequence[tuple[str, bool]]) -> Explanation:
    return Explanation(
        candidates=tuple(candidates),
        coordinator=message.coordinator,
        keyspace=message.keyspace,
        position=message.position,
        partition=message.partition,
        epoch=message.epoch,
        row_epoch=message.row_epoch,
        r=message.r,
        weak=message.weak,
        owners=tuple(map(_owner, message.owners)),
        fallbacks=tuple(message.fallbacks),
        values=message.values,
        took_ms=message.took_us / 1000,
        error=message.error,
    )


def _owner(message: ExplainedOwner) -> OwnerPart:
    return OwnerPart(
        node=message.node,
        state=message.state,
        asked=message.asked,
        answered=message.answered,
        asked_ms=message.asked_us / 1000,
        took_ms=message.took_us / 1000,
        silent=message.silent,
        error=message.error,
        bytes=message.bytes,
        dots=tuple(message.dots),
        same=message.same,
        written_back=message.written_back,
        write_back_error=message.write_back_error,
        hinted=message.hinted,
    )
