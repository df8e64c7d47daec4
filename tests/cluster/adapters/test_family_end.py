"""A family that forks while it is being killed, in a simulated process table: each look at the table takes
time, in which running processes keep forking."""

import signal
from dataclasses import dataclass, field

import pytest

from ringmill.cluster.adapters.processes.family_end import end_family, members_of

FORKSERVER, LEADER = 1, 2
LIMIT = 2_000


@dataclass
class Bomb:
    """Running processes fork children into sessions of their own, one of them every `calls_a_fork` calls.

    A signal takes effect `delay` calls after it was sent.  With `wakes`, a running process wakes a stopped
    one at each of its turns; with `wakes_orphans`, the kernel wakes processes that lost their parent.
    """

    calls_a_fork: int = 1
    delay: int = 0
    wakes: bool = False
    wakes_orphans: bool = False
    parents: dict[int, int] = field(default_factory=lambda: {LEADER: FORKSERVER})
    stopped: set[int] = field(default_factory=set)
    under_way: list[tuple[int, int, int]] = field(default_factory=list)  # when, to whom, which signal
    calls: int = 0
    born: int = 1

    def __post_init__(self) -> None:
        for _ in range(100 * self.calls_a_fork):
            self._tick()

    def roots(self) -> list[int]:
        """The leader, and orphans that the forkserver has adopted."""
        return [pid for pid, parent in self.parents.items() if parent == FORKSERVER]

    def children(self, pid: int) -> list[int]:
        self._tick()
        return [child for child, parent in self.parents.items() if parent == pid]

    def can_run(self, pid: int) -> bool:
        self._tick()
        return pid in self.parents and pid not in self.stopped

    def send(self, pid: int, number: int) -> None:
        self._tick()
        self.under_way.append((self.calls + self.delay, pid, number))
        self._deliver()

    def pause(self) -> None:
        for _ in range(10):
            self._tick()

    def _tick(self) -> None:
        self.calls += 1
        self._deliver()
        running = [pid for pid in self.parents if pid not in self.stopped]
        if not running or self.calls % self.calls_a_fork:
            return
        actor = running[self.calls % len(running)]
        if self.wakes and self.stopped and self.calls % 3 == 0:
            self.stopped.discard(min(self.stopped))
        elif self.born < LIMIT:
            self.born += 1
            self.parents[LEADER + self.born] = actor

    def _deliver(self) -> None:
        due = [each for each in self.under_way if each[0] <= self.calls]
        self.under_way = [each for each in self.under_way if each[0] > self.calls]
        for _, pid, number in due:
            if number == signal.SIGSTOP and pid in self.parents:
                self.stopped.add(pid)
            elif number == signal.SIGKILL and self.parents.pop(pid, None) is not None:
                self.stopped.discard(pid)
                for child, parent in self.parents.items():
                    if parent == pid:
                        self.parents[child] = FORKSERVER
                        if self.wakes_orphans:
                            self.stopped.discard(child)


BOMBS = {
    "forks about as fast as it is looked at": Bomb(calls_a_fork=4),
    "stops take a while": Bomb(calls_a_fork=6, delay=3),
    "members wake each other": Bomb(calls_a_fork=6, wakes=True),
    "the kernel wakes orphans": Bomb(calls_a_fork=6, wakes_orphans=True),
}


@pytest.mark.parametrize("what", BOMBS)
def test_nobody_is_left_of_a_family_that_forks_on_while_it_is_ended(what: str) -> None:
    bomb = BOMBS[what]
    assert len(bomb.parents) > 50
    assert end_family(bomb.roots, bomb)
    bomb.pause()
    assert bomb.parents == {}
    assert bomb.born < LIMIT, "it was ended, it did not end by itself"


def test_killing_the_processes_of_one_look_leaves_those_forked_meanwhile() -> None:
    """What ending a family was before: the bomb ends when it likes."""
    bomb = Bomb(calls_a_fork=4)
    while bomb.roots() and bomb.born < LIMIT:
        everyone = members_of(bomb.roots(), bomb, most=LIMIT)
        for pid in everyone:
            bomb.send(pid, signal.SIGKILL)
        for _ in range(10):  # until the next round of the watch
            bomb.pause()
    assert bomb.born == LIMIT


def test_a_family_that_is_gone_already_is_ended() -> None:
    bomb = Bomb()
    assert end_family(list, bomb)
    assert bomb.parents


def test_whoever_dies_slowly_is_not_waited_for() -> None:
    """A process of gigabytes is seen for seconds after SIGKILL; the watch over the others must go on."""
    slow = Bomb(calls_a_fork=6)
    slow.delay = 100_000
    slow.stopped |= set(slow.parents)
    began = slow.calls
    assert end_family(slow.roots, slow)
    assert slow.calls - began < 20 * len(slow.parents)
    assert {pid for _, pid, number in slow.under_way if number == signal.SIGKILL} == set(slow.parents)


def test_counting_a_bomb_ends_just_above_the_limit() -> None:
    bomb = Bomb(calls_a_fork=1)
    assert len(members_of(bomb.roots(), bomb, most=40)) == 41
