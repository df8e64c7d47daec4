"""Looks at a cluster for those who have the live page open: one look a second for all with one token."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, Final, NamedTuple, TypeVar

from ringmill.client.administration.hot_view import HotView
from ringmill.client.administration.moves_view import MovesView
from ringmill.client.administration.node_metrics import NodeMetrics
from ringmill.client.administration.status import ClusterStatus
from ringmill.client.administration.top_view import TopView, top_view
from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.page.live_view import live_view, ring_picture
from ringmill.client.gateway.page.timeline import Timeline
from ringmill.client.jobs.job_values import JobList
from ringmill.cluster.errors import ClientClosed, PermissionDenied, RingmillError

__all__ = ["ClusterWatcher", "PageMessage"]

_log = logging.getLogger(__name__)
T = TypeVar("T")

EVERY_S: Final = 1.0
ASK_S: Final = 2.0
HOT_EVERY: Final = 2  # looks
MOST_SAMPLES: Final = 300
FRESH_S: Final = 5.0
WAITING: Final = 8
MOST_WAITING: Final = 200
LOOKERS: Final = 64


class PageMessage(NamedTuple):
    """What a page is told: "history" once, "ring" when it changed, new "events", and each second "live", or
    "trouble" when nobody answers."""

    kind: str
    body: Any


_END: Final = PageMessage("end", None)


class ClusterWatcher:
    """Looks while somebody subscribes, and keeps what it saw for the next one.

    `now_s` is the wall clock in seconds.
    """

    def __init__(self, client: AsyncClient, now_s: Callable[[], float]) -> None:
        self._client = client
        self._now_s = now_s
        self._timeline = Timeline()
        self._samples: deque[dict[str, Any]] = deque(maxlen=MOST_SAMPLES)
        self._ring: dict[str, Any] | None = None
        self._live: dict[str, Any] | None = None
        self._trouble: PageMessage | None = None  # instead of a newer look
        self._hot: HotView | None = None
        self._moves: MovesView | None = None
        self._jobs: JobList | None = None
        self._metrics: Mapping[str, NodeMetrics] = {}
        self._lookers: set[asyncio.Queue[PageMessage]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = 0.0  # on the loop's clock

    async def subscribe(self) -> AsyncGenerator[PageMessage, None]:
        """What is known, then what is new.  A slow reader misses looks, and no ring and no event; for one
        that is too slow it ends.

        Raises RingmillError when there are more subscribers than are taken.
        """
        if len(self._lookers) >= LOOKERS:
            raise RingmillError(f"{LOOKERS} pages look at this cluster already", hint="close one of them")
        self._forget_old_look()
        queue: asyncio.Queue[PageMessage] = asyncio.Queue()
        for message in self._known():
            queue.put_nowait(message)
        self._lookers.add(queue)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_on())
        try:
            while queue in self._lookers or not queue.empty():
                message = await queue.get()
                if message is _END:
                    return
                yield message
        finally:
            self._lookers.discard(queue)

    @property
    def has_lookers(self) -> bool:
        """Whether somebody subscribes."""
        return bool(self._lookers)

    async def aclose(self) -> None:
        """Look no more, and let all subscribers end."""
        self._end_all()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    def _end_all(self) -> None:
        for queue in self._lookers:
            queue.put_nowait(_END)
        self._lookers.clear()

    def _forget_old_look(self) -> None:
        """Nobody has looked for a while: what was so is told no more, and no rate since then is one of now.

        The samples, the events and the ring stay: they tell their time, or their epoch.
        """
        is_looking = self._looking is not None and not self._looking.done()
        if is_looking or asyncio.get_running_loop().time() - self._looked_at < FRESH_S:
            return
        self._live = self._trouble = self._hot = self._moves = self._jobs = None
        self._metrics = {}
        self._timeline.pause()

    def _known(self) -> list[PageMessage]:
        known = [PageMessage("history", {"samples": list(self._samples), "events": self._told_events()})]
        if self._ring is not None:
            known.append(PageMessage("ring", self._ring))
        if self._live is not None:
            known.append(PageMessage("live", self._live))
        if self._trouble is not None:
            known.append(self._trouble)
        return known

    def _told_events(self) -> list[dict[str, Any]]:
        return [asdict(event) for event in self._timeline.events()]

    async def _look_on(self) -> None:
        loop, looks = asyncio.get_running_loop(), 0
        while self._lookers:
            until = loop.time() + EVERY_S
            try:
                await self._ask_cluster(is_hot=looks % HOT_EVERY == 0)
            except ClientClosed:  # nothing comes any more: pages open again, with another client
                self._end_all()
                return
            except RingmillError as error:
                self._tell_trouble(str(error))
            except Exception:  # noqa: BLE001 - a bug is told as one, and the watcher goes on
                _log.exception("the live page could not be told what the cluster does")
                self._tell_trouble("an error in the gateway")
            looks, self._looked_at = looks + 1, loop.time()
            await asyncio.sleep(max(0.0, until - loop.time()))

    async def _ask_cluster(self, *, is_hot: bool) -> None:
        db = self._client
        answers = await asyncio.gather(
            _outcome(db.status(timeout=ASK_S)),
            _outcome(db.metrics(timeout=ASK_S)),
            _outcome(db.members.moves(timeout=ASK_S)),
            _outcome(db.jobs.list()),
        )
        seen, metrics, moves, jobs = answers
        if isinstance(seen, RingmillError):
            raise seen
        at_s = self._now_s()
        if self._ring is None or self._ring["epoch"] < seen.epoch:
            view = await _outcome(db.ring.show(status=seen, timeout=ASK_S))
            if not isinstance(view, RingmillError):
                self._ring = ring_picture(view.topology)
                self._tell(PageMessage("ring", self._ring))
        if is_hot:
            self._hot = _kept(await _outcome(db.hot(status=seen, timeout=ASK_S)), self._hot)
        self._moves, self._jobs = _kept(moves, self._moves), _kept(jobs, self._jobs)
        counted = {} if isinstance(metrics, RingmillError) else metrics
        pace = self._pace(seen, counted)
        if events := self._timeline.observe(at_s, seen, self._moves, counted):
            self._tell(PageMessage("events", [asdict(event) for event in events]))
        listed = None if self._jobs is None else self._jobs.jobs
        self._live = live_view(at_s, seen, self._hot, self._moves, listed, pace)
        sample = {name: self._live[name] for name in ("at_s", "requests_s", "pace")} | {"hints": seen.hints}
        self._samples.append({**sample, "work": {each["id"]: each["work_s"] for each in self._live["nodes"]}})
        self._trouble = None
        self._tell(PageMessage("live", self._live))

    def _tell_trouble(self, message: str) -> None:
        self._trouble = PageMessage("trouble", {"at_s": self._now_s(), "message": message})
        self._tell(self._trouble)

    def _pace(self, seen: ClusterStatus, now: Mapping[str, NodeMetrics]) -> TopView | None:
        """What happened since the last look; None when that cannot be said."""
        earlier, self._metrics = self._metrics, now
        return top_view(seen, earlier, now) if earlier and now else None

    def _tell(self, message: PageMessage) -> None:
        for queue in list(self._lookers):
            if queue.qsize() >= MOST_WAITING:
                self._lookers.discard(queue)
            elif message.kind != "live" or queue.qsize() < WAITING:
                queue.put_nowait(message)


async def _outcome(asking: Awaitable[T]) -> T | RingmillError:
    """The answer, or why there is none.  Raises ClientClosed."""
    try:
        return await asking
    except ClientClosed:
        raise
    except RingmillError as error:
        return error


def _kept(outcome: T | RingmillError, former: T | None) -> T | None:
    """What is shown: nothing to a client that may not ask, and the former answer while there is no other."""
    if isinstance(outcome, PermissionDenied):
        return None
    return former if isinstance(outcome, RingmillError) else outcome
