"""The history of a run, which checkers read: each session's operations, their times and answers.

One format for simulated and real runs; as JSON lines it can be kept and checked again later.  Times are
seconds of one monotonic clock of whoever drove the run.  An operation that got no certain answer is
`unknown`: it may take effect at any later moment, or never.  `failed` means that it certainly did not.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from math import inf
from typing import Any, Literal, Protocol
from typing import Final as Constant

from ringmill.client.checked.merging_calls import MergingCall
from ringmill.client.checked.register_calls import RegisterCall
from ringmill.cluster.versions.objects import Sibling, StoredObject
from ringmill.simulator.job_history import JobHistory, JobRecord, JobReport, Sighting
from ringmill.simulator.register_history import Holding
from ringmill.simulator.scan_history import ScanRecord

__all__ = [
    "BesideDamage",
    "Coordinated",
    "CoreHistory",
    "Final",
    "History",
    "Kind",
    "Operation",
    "Purged",
    "Outcome",
    "ReceiptLine",
    "Vector",
    "SeenSibling",
    "covers",
    "was_over",
]

_OF_RUN: Constant = ("fired", "first_fired_at", "default_w", "stall_s")
_OF_ORACLE: Constant = ("records", "counters", "struck", "revived", "left")

Kind = Literal["put", "delete", "get", "touch"]
Outcome = Literal["ok", "failed", "unknown"]
Vector = Mapping[str, int]
"""Actor to the highest counter seen: a causal context, opened."""


def covers(vector: Vector, dot: str) -> bool:
    """Does the context contain the write named by `dot` ("n1#1:5")?"""
    actor, _, counter = dot.rpartition(":")
    return vector.get(actor, 0) >= int(counter)


class TimedOfSession(Protocol):
    """A call whose place among the others of a run can be told."""

    @property
    def session(self) -> str: ...

    @property
    def invoked(self) -> float: ...

    @property
    def returned(self) -> float | None: ...


def was_over(call: TimedOfSession, other: TimedOfSession) -> bool:
    """Whether a call had been answered when the other was asked.  Time stands still in a simulated run while
    a session that makes no pause goes on, so that both may have one time."""
    if call.returned is None or call is other:
        return False
    is_same = call.session == other.session and call.invoked < other.invoked
    return call.returned < other.invoked or (is_same and call.returned == other.invoked)


@dataclass(frozen=True, slots=True)
class SeenSibling:
    """One sibling as a reader saw it."""

    value: bytes
    dot: str
    ttl_s: float | None = None  # that it had left, as the reader was told


@dataclass(frozen=True, slots=True)
class ReceiptLine:
    """One line of a receipt."""

    node: str
    role: str
    durability: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One request of one session.  `returned` is None while no answer came."""

    index: int
    session: str
    kind: Kind
    key: bytes
    invoked: float
    returned: float | None
    outcome: Outcome
    value: bytes = b""  # a put's argument; a touch keeps one that its client is not told
    given: Vector | None = None  # context handed in; None: none was
    is_blind: bool = False  # a put that asked for a true sibling
    is_synced: bool = True  # a write that asked for the disk before its acknowledgement
    is_buffered: bool = (
        False  # one that asked for the page cache: a kill of its holders takes nothing from it
    )
    level: str | None = None  # that a write asked for; "": the keyspace's; None: not told
    dot: str = ""  # of a write that was acknowledged
    w: int = 0  # that its receipt tells
    seen: Vector = field(default_factory=dict)  # context handed out
    siblings: tuple[SeenSibling, ...] = ()  # of a read
    replicas: tuple[ReceiptLine, ...] = ()  # of a receipt
    is_weak: bool = False
    is_at_r: bool = False  # a read at the keyspace's R; weak all the same where that is no majority
    error: str = ""
    timeout_s: float | None = None  # how long its client waited at most; None also if the driver gave it up
    ttl_s: float | None = None  # of a put or touch
    has_token: bool = False  # its session keeps what it has seen, so that its weak requests are judged, too

    @property
    def is_write(self) -> bool:
        return self.kind != "get"

    @property
    def is_ok(self) -> bool:
        return self.outcome == "ok"

    @property
    def is_below(self) -> bool:
        """Whether it was at a lower level than the keyspace's: r + w > n promises nothing of it then."""
        return self.is_weak and not self.is_at_r


@dataclass(frozen=True, slots=True)
class Final:
    """What one owner holds of a key once the run is quiet."""

    key: bytes
    node: str
    seen: Vector
    dots: tuple[str, ...]  # of every sibling, tombstones included
    held: Mapping[str, str] = field(default_factory=dict)  # by dot, a digest of value, expiry, time and name
    values: Mapping[str, bytes] | None = None  # by dot, without tombstones; None: nobody has looked
    ending: tuple[str, ...] = ()  # dots of those that expire or have expired

    @classmethod
    def of(cls, key: bytes, node: str, stored: StoredObject) -> Final:
        seen = {str(actor): count for actor, count in stored.context.entries}
        held = {str(sibling.dot): _digest(sibling) for sibling in stored.siblings}
        values = {str(each.dot): each.value for each in stored.siblings if each.value is not None}
        ending = tuple(str(each.dot) for each in stored.siblings if each.expires_at_ms)
        return cls(key, node, seen, tuple(held), held, values, ending)


def _digest(sibling: Sibling) -> str:
    """Equal for copies of one write alone.  Whether a later attempt wrote it, each owner tells by itself."""
    text = repr((sibling.value, sibling.expires_at_ms, sibling.time, sibling.operation))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Coordinated:
    """A write as its coordinator put it into its log, seen from outside."""

    at: float  # on the clock of `Operation.invoked`
    node: str
    key: bytes
    value: bytes | None
    dot: str
    is_touch: bool = False


@dataclass(frozen=True, slots=True)
class Purged:
    """An object that a node forgot, as all of it was deleted or had expired; seen from outside."""

    at: float  # on the clock of `Operation.invoked`
    node: str
    key: bytes
    seen: Vector
    dots: tuple[str, ...]  # of the siblings that were left
    alive_at: tuple[str, ...] = ()  # owners that then showed a version which it had replaced
    is_alive: bool = False  # it held a value that had not expired
    is_held_back: bool = False  # all owners have seen their clocks set forwards, and too short a time ago


@dataclass(frozen=True, slots=True)
class BesideDamage:
    """A put at the default level while bits had turned on the disk of one node."""

    index: int  # among the operations
    w: int
    sound_owners: int


@dataclass(slots=True)
class CoreHistory:
    """What a healed core of the nodes did while the rest stayed broken; empty in most runs."""

    rest: dict[str, str] = field(default_factory=dict)  # nodes left broken, and how
    not_serving: list[str] = field(default_factory=list)  # nodes of the core that did not serve in time
    asked: list[int] = field(default_factory=list)  # indexes among the operations
    failed_jobs: list[str] = field(default_factory=list)  # that did not succeed in time, and why

    @property
    def beside(self) -> str:
        """The rest, in words."""
        return ", ".join(f"{node} ({way})" for node, way in self.rest.items())


def _holders(write: Operation) -> list[str]:
    return [replica.node for replica in write.replicas if replica.role == "owner"]


@dataclass(slots=True)
class History:
    """All operations in the order of their start, and what the owners hold at the end.

    `handed_over` is what they hold when all hints are delivered and nobody has read yet; `crashed` says when
    each node forgot what was in its memory, `power_cuts` when it forgot its page cache as well.
    """

    operations: list[Operation] = field(default_factory=list)
    finals: list[Final] = field(default_factory=list)
    handed_over: list[Final] = field(default_factory=list)
    crashed: dict[str, list[float]] = field(default_factory=dict)
    power_cuts: dict[str, list[float]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)  # nodes whose disk was destroyed
    shown_by_lost: list[Final] = field(default_factory=list)  # what those and damaged ones showed before
    damaged: list[str] = field(default_factory=list)  # nodes on whose disks bits have turned: healed since
    beside_damage: list[BesideDamage] = field(default_factory=list)
    shown_by_liars: list[tuple[bytes, bytes]] = field(default_factory=list)  # keys and values, likewise
    core: CoreHistory = field(default_factory=CoreHistory)
    coordinated: list[Coordinated] = field(default_factory=list)  # simulated runs only
    purged: list[Purged] = field(default_factory=list)  # likewise
    fired: Mapping[str, int] = field(default_factory=dict)  # faults by kind, how often; likewise
    first_fired_at: Mapping[str, float] = field(default_factory=dict)  # likewise
    spoiling: frozenset[str] = frozenset()  # kinds that destroy synced bytes of a node; likewise
    stall_s: float = 0.0  # a call may wait that long for a flush; 0.0 where many writes fill a memtable
    jobs: JobHistory = field(default_factory=JobHistory)
    registers: list[RegisterCall] = field(default_factory=list)
    holdings: list[Holding] = field(default_factory=list)
    scans: list[ScanRecord] = field(default_factory=list)
    scan_writes: list[Operation] = field(default_factory=list)  # of the keys that those scans are about
    merging: list[MergingCall] = field(default_factory=list)
    default_w: int = 1  # of the keyspace that `operations` are about

    @property
    def faults(self) -> frozenset[str]:
        """Kinds that fired."""
        return frozenset(self.fired)

    def is_firm(self, write: Operation) -> bool:
        """May nobody have forgotten this acknowledged write?

        Somebody may when it was held in memory only and one of its holders crashed since, or in the page
        cache and one of them lost power, or when all its holders lost their disks, or some bits of them.
        """
        holders = _holders(write)
        if holders and {*self.lost, *self.damaged} >= {*holders}:
            return False
        return write.is_synced or not any(self._has_forgotten(node, write) for node in holders)

    def is_left(self, write: Operation) -> bool:
        """Does a holder that has forgotten nothing keep this acknowledged write?  Then all owners know it in
        the end, whatever reads may have missed meanwhile."""
        broken = {*self.lost, *self.damaged}
        return any(node not in broken and not self._has_forgotten(node, write) for node in _holders(write))

    def _has_forgotten(self, node: str, write: Operation) -> bool:
        times = self.power_cuts if write.is_buffered else self.crashed
        return any(at >= write.invoked for at in times.get(node, ()))

    def remember_purged(self) -> None:
        """Take what owners have forgotten for known, in what reads and owners showed afterwards: who finds
        nothing where all was deleted has missed nothing.  For checkers that count on contexts."""
        if not self.purged:
            return
        by_key: dict[bytes, list[Purged]] = {}
        for one in self.purged:
            by_key.setdefault(one.key, []).append(one)
        for at, operation in enumerate(self.operations):
            returned = operation.returned
            if not operation.is_write and operation.is_ok and returned is not None:
                known = [one for one in by_key.get(operation.key, []) if one.at <= returned]
                if known:
                    self.operations[at] = replace(operation, seen=_joined(operation.seen, known))
        for finals in (self.finals, self.handed_over, self.shown_by_lost):
            for at, final in enumerate(finals):
                known = by_key.get(final.key, [])
                if known:
                    gone = {dot for one in known for dot in one.dots}
                    dots = tuple(dot for dot in final.dots if dot not in gone)
                    finals[at] = replace(final, seen=_joined(final.seen, known), dots=dots)
        for scan in self.scans:
            for place, item in enumerate(scan.items):
                known = [one for one in by_key.get(item.key, []) if one.at <= _end_of(scan)]
                if known:
                    scan.items[place] = replace(item, seen=_joined(item.seen, known))

    def by_key(self) -> dict[bytes, list[Operation]]:
        """Operations of each key, in order; keys sorted."""
        found: dict[bytes, list[Operation]] = {}
        for operation in self.operations:
            found.setdefault(operation.key, []).append(operation)
        return dict(sorted(found.items()))

    def finals_by_key(self) -> dict[bytes, list[Final]]:
        return _by_key(self.finals)

    def handed_over_by_key(self) -> dict[bytes, list[Final]]:
        return _by_key(self.handed_over)

    def to_lines(self) -> Iterable[str]:
        """JSON lines: one an operation, a final, a node that crashed or lost power, a job, a sighting, a
        write or a forgotten object seen from outside, and two of the whole run.

        They are for the checkers of objects and jobs, whose verdict on them is that of the run.
        """
        for operation in self.operations:
            yield json.dumps({"op": _jsonable(asdict(operation))}, sort_keys=True)
        for final in self.finals:
            yield json.dumps({"final": _jsonable(asdict(final))}, sort_keys=True)
        for final in self.handed_over:
            yield json.dumps({"handed_over": _jsonable(asdict(final))}, sort_keys=True)
        for name, of_nodes in (("crashed", self.crashed), ("power_cut", self.power_cuts)):
            yield from (json.dumps({name: [node, times]}) for node, times in sorted(of_nodes.items()))
        for final in self.shown_by_lost:
            yield json.dumps({"shown_by_lost": _jsonable(asdict(final))}, sort_keys=True)
        for key, value in self.shown_by_liars:
            yield json.dumps({"shown_by_liar": [_jsonable(key), _jsonable(value)]})
        for node in self.lost:
            yield json.dumps({"lost": node})
        for node in self.damaged:
            yield json.dumps({"damaged": node})
        for beside in self.beside_damage:
            yield json.dumps({"beside_damage": asdict(beside)})
        if self.core.rest:
            yield json.dumps({"core": asdict(self.core)})
        yield from self._lines_of_jobs()
        yield from self._lines_from_outside()

    def _lines_of_jobs(self) -> Iterable[str]:
        for job in self.jobs.jobs:
            yield json.dumps({"job": asdict(job)}, sort_keys=True)
        for sighting in self.jobs.sightings:
            yield json.dumps({"sighting": asdict(sighting)}, sort_keys=True)
        yield json.dumps({"oracle": {name: getattr(self.jobs, name) for name in _OF_ORACLE}}, sort_keys=True)

    def _lines_from_outside(self) -> Iterable[str]:
        for write in self.coordinated:
            yield json.dumps({"coordinated": _jsonable(asdict(write))}, sort_keys=True)
        for one in self.purged:
            yield json.dumps({"purged": _jsonable(asdict(one))}, sort_keys=True)
        run = {name: getattr(self, name) for name in _OF_RUN}
        yield json.dumps({"run": {**run, "spoiling": sorted(self.spoiling)}}, sort_keys=True)

    @classmethod
    def from_lines(cls, lines: Iterable[str]) -> History:
        """What `to_lines` wrote.  Raises ValueError or KeyError on anything else."""
        history = cls()
        for line in lines:
            row = json.loads(line)
            if "op" in row:
                history.operations.append(_operation(row["op"]))
            elif "crashed" in row:
                node, times = row["crashed"]
                history.crashed[node] = times
            elif "power_cut" in row:
                node, times = row["power_cut"]
                history.power_cuts[node] = times
            elif "lost" in row:
                history.lost.append(row["lost"])
            elif "damaged" in row:
                history.damaged.append(row["damaged"])
            elif "beside_damage" in row:
                history.beside_damage.append(BesideDamage(**row["beside_damage"]))
            elif "core" in row:
                history.core = CoreHistory(**row["core"])
            elif "shown_by_liar" in row:
                key, value = (b64decode(each["b64"]) for each in row["shown_by_liar"])
                history.shown_by_liars.append((key, value))
            elif not history._take_event(row):
                ((name, final),) = row.items()
                finals = {
                    "final": history.finals,
                    "handed_over": history.handed_over,
                    "shown_by_lost": history.shown_by_lost,
                }
                finals[name].append(_final(final))
        return history

    def _take_event(self, row: dict[str, Any]) -> bool:
        """Take a line of jobs, or of what was seen from outside; False when it is neither."""
        if "job" in row:
            reports = [JobReport(**each) for each in row["job"].pop("told")]
            self.jobs.jobs.append(JobRecord(**row["job"], told=reports))
        elif "sighting" in row:
            self.jobs.sightings.append(Sighting(**row["sighting"]))
        elif "oracle" in row:
            for name in _OF_ORACLE:
                setattr(self.jobs, name, row["oracle"][name])
        elif "coordinated" in row:
            self.coordinated.append(Coordinated(**_with_bytes(row["coordinated"])))
        elif "purged" in row:
            self.purged.append(Purged(**_with_bytes(row["purged"])))
        elif "run" in row:
            for name in _OF_RUN:
                setattr(self, name, row["run"].get(name, getattr(self, name)))
            self.spoiling = frozenset(row["run"]["spoiling"])
        else:
            return False
        return True


def _end_of(scan: ScanRecord) -> float:
    return inf if scan.returned is None else scan.returned


def _joined(seen: Vector, known: Iterable[Purged]) -> Vector:
    joined = dict(seen)
    for one in known:
        for actor, count in one.seen.items():
            joined[actor] = max(count, joined.get(actor, 0))
    return joined


def _by_key(finals: Iterable[Final]) -> dict[bytes, list[Final]]:
    found: dict[bytes, list[Final]] = {}
    for final in finals:
        found.setdefault(final.key, []).append(final)
    return dict(sorted(found.items()))


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"b64": b64encode(value).decode()}
    if isinstance(value, dict):
        return {str(name): _jsonable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value


def _with_bytes(row: dict[str, Any]) -> dict[str, Any]:
    """The fields of an event that was seen from outside."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        is_bytes = isinstance(value, dict) and value.keys() == {"b64"}
        found[name] = (
            b64decode(value["b64"]) if is_bytes else tuple(value) if isinstance(value, list) else value
        )
    return found


def _operation(row: dict[str, Any]) -> Operation:
    row["key"], row["value"] = b64decode(row["key"]["b64"]), b64decode(row["value"]["b64"])
    row["siblings"] = tuple(
        SeenSibling(b64decode(v["value"]["b64"]), v["dot"], v["ttl_s"]) for v in row["siblings"]
    )
    row["replicas"] = tuple(ReceiptLine(**replica) for replica in row["replicas"])
    return Operation(**row)


def _final(row: dict[str, Any]) -> Final:
    told = row.get("values")
    values = None if told is None else {dot: b64decode(value["b64"]) for dot, value in told.items()}
    key, dots, ending = b64decode(row["key"]["b64"]), tuple(row["dots"]), tuple(row.get("ending", ()))
    return Final(key, row["node"], row["seen"], dots, row.get("held", {}), values, ending)
