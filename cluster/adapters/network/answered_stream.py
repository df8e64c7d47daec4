"""One stream that is being answered: who dialled it, what waits to be written on it, how much may begin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.access.callers import Standing
from ringmill.cluster.adapters.network.paced_writer import PacedWriter
from ringmill.cluster.errors import DeadlineExceeded, RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.meters.request_meter import RequestMeter
from ringmill.cluster.overload.gate import Run
from ringmill.cluster.ports import Clock, Priority
from ringmill.cluster.wire.error_bytes import encode_error
from ringmill.cluster.wire.frames import (
    MAX_FRAME_BYTES,
    OPERATION_OVERHEAD_BYTES,
    Answer,
    encode_answers,
)
from ringmill.cluster.wire.sending_time import microseconds

__all__ = ["AnsweredStream", "Dialler", "share_of_answers"]

_OPERATIONS_A_TURN: Final = 128  # then other tasks get a turn, so that a full frame does not block the loop
TURN_BYTES: Final = 1024 * 1024  # of answers, made or expected, before the next stream has its turn
STREAM_BYTES: Final = 4 * 1024 * 1024  # of answers to a client, made or expected, that wait to be written
LEAST_STREAM_BYTES: Final = 256 * 1024
NODE_BYTES: Final = 64 * 1024 * 1024  # of the answers of all streams, as long as each has its least
FIRST_ANSWER_BYTES: Final = 256 * 1024  # taken for the size of an answer before there was any
LONG_BYTES: Final = 64 * 1024  # a longer answer is left out once its deadline is over (rule D2)
ANSWERS_MEANT: Final = 8  # over which the size of an answer is averaged


@dataclass(frozen=True, slots=True)
class Dialler:
    """Who dialled a stream and what it may ask: methods that begin with `prefix` or one of them, classes from
    `floor` on.

    Answers on it gather company (`gathers`) or leave at once, as PacedWriter has it.
    """

    node: NodeId
    prefix: str | tuple[str, ...] = ""
    floor: Priority = Priority.CONTROL
    gathers: bool = True
    max_frame_bytes: int = MAX_FRAME_BYTES
    takes_runs: bool = False  # it understands one answer that refuses many calls
    takes_load: bool = False  # it reads how much this node has under way
    is_screened: bool = False  # a client's: the gate looks at it, and its answers are counted (rule O5)
    standing: Standing | None = None  # what its client may ask (rule F8)
    keys: frozenset[bytes] = frozenset()  # of the cluster's secrets that it has proved (rule F9)
    cluster: str = ""  # of which a node said to be when it dialled (rule T9)


class AnsweredStream:
    """One stream that is being answered."""

    __slots__ = (
        "_clock", "_expected_bytes", "_load", "_long", "_meter", "allowed", "dialler", "has_answered",
        "is_ended", "is_stamped", "outbox", "under_way", "used_at",
    )  # fmt: skip

    def __init__(
        self, dialler: Dialler, clock: Clock, meter: RequestMeter | None, load: Callable[[], int]
    ) -> None:
        """`load` tells how much this node has under way, for diallers that take it."""
        self._clock = clock
        self._meter = meter
        self._load = load
        self._long: dict[int, float] = {}  # long answers that wait, with their deadlines
        self.dialler = dialler
        self.used_at = clock.boottime()  # when a frame has last come, or begun to leave
        self.allowed: set[tuple[str, int]] = set()  # methods with their classes
        self.outbox: PacedWriter[Answer] = PacedWriter(self._encode, gathers=dialler.gathers)
        self.under_way = 0
        self._expected_bytes = FIRST_ANSWER_BYTES
        self.has_answered = False
        self.is_stamped = False
        self.is_ended = False

    def _encode(self, answers: list[Answer]) -> bytes:
        """With a stamp for a dialler that knows stamps: its own frames have them."""
        self.used_at = self._clock.boottime()
        if self._long:
            answers = list(map(self._in_time, answers))
        clock_us = microseconds(self.used_at) if self.is_stamped else None
        return encode_answers(answers, clock_us, self._load() if self.dialler.takes_load else None)

    def _in_time(self, answer: Answer) -> Answer:
        """An error in place of a long answer that nobody waits for: others wait behind it on a slow link."""
        deadline = self._long.pop(answer[0], None)
        if deadline is None or self.used_at <= deadline:
            return answer
        late = f"an answer of {len(answer[1])} bytes had to wait past its deadline"
        return answer[0], b"", encode_error(DeadlineExceeded(late, outcome="unknown"))

    def room(self, streams: int, wanted: int) -> int:
        """How many of `wanted` calls may begin, so that there is room for their answers beside those that
        wait to be written (rule O5).  `streams` share the room of the node."""
        if not self.dialler.is_screened:
            return wanted
        most = share_of_answers(streams) - self.outbox.depth[1]
        room = most // self._expected_bytes - self.under_way
        if room >= wanted:
            return wanted
        has_none = not self.under_way and not self.outbox.depth[0]
        return max(room, 1) if has_none else room

    @property
    def is_idle(self) -> bool:
        """Nothing is under way, and all answers have left."""
        return not self.under_way and self.outbox.is_at_rest

    def note_done(self, method: str, begun: float) -> None:
        """A call is about to be answered that was read at `begun`."""
        if self._meter is not None:
            self._meter.done(method, self._clock.boottime() - begun)

    def note_failed(self, method: str, error: Exception, begun: float) -> None:
        if self._meter is not None and method.startswith(self.dialler.prefix):
            self._meter.failed(method, error, self._clock.boottime() - begun)

    def guess_less(self) -> None:
        """No answer has come yet, so its size is not known and may be small."""
        if not self.has_answered:
            self._expected_bytes = self._expected_bytes // 2 + 1

    @property
    def calls_a_turn(self) -> int:
        """How many calls may begin in one turn of the loop: their answers are made in one, too (rule O5)."""
        return min(_OPERATIONS_A_TURN, TURN_BYTES // self._expected_bytes + 1)

    def answer(self, identity: int, method: str, body: bytes, max_frame_bytes: int, deadline: float) -> None:
        if len(body) + OPERATION_OVERHEAD_BYTES > max_frame_bytes:
            too_long = f"the answer to {method} has {len(body)} bytes, over the limit of {max_frame_bytes}"
            self.fail(identity, RingmillError(too_long, outcome="unknown"))
        else:
            self.has_answered = True
            self._expected_bytes += (len(body) - self._expected_bytes) // ANSWERS_MEANT + 1
            if len(body) > LONG_BYTES:
                self._long[identity] = deadline
            self.outbox.offer((identity, body), len(body))

    def refuse(self, runs: list[Run], error: RingmillError) -> None:
        """The calls of these ids are not done."""
        packed = encode_error(error)
        self.outbox.hurry()
        for first, last in runs:
            if self.dialler.takes_runs:
                self.outbox.offer((first, b"", packed, last), len(packed))
                continue
            for identity in range(first, last + 1):
                self.outbox.offer((identity, b"", packed), len(packed))

    def fail(self, identity: int, error: RingmillError) -> None:
        packed = encode_error(error)
        self.outbox.offer((identity, b"", packed), len(packed))


def share_of_answers(streams: int) -> int:
    """Bytes of answers that one of this number of streams may have under way and waiting."""
    return min(STREAM_BYTES, max(LEAST_STREAM_BYTES, NODE_BYTES // max(1, streams)))
