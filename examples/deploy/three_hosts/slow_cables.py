"""Cables with a delay, as two network devices each whose packets this process hands over late.

    python slow_cables.py DELAY_MS DEVICE:DEVICE [DEVICE:DEVICE ...]

Linux has netem for this, but not every kernel is built with it; TAP devices are nearly everywhere.  Each
packet waits for the delay and up to a fifth of it more or less, and none overtakes another one.  The devices
live as long as this process.  It says "ready" once they are there, and ends with its standard input.
"""

from __future__ import annotations

import fcntl
import os
import random
import selectors
import struct
import sys
import time
from collections import deque
from contextlib import suppress

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # <linux/if_tun.h>
LARGEST_PACKET = 65_536
MOST_ON_THE_WAY = 10_000  # of one direction; what comes beyond is lost, as in the queue of a device
CLONE = "/dev/net/tun"


class Direction:
    """What is on its way from one device to the other."""

    def __init__(self, source: int, target: int, delay_s: float) -> None:
        self.source = source
        self._target = target
        self._delay_s = delay_s
        self._on_the_way = deque[tuple[float, bytes]]()

    def due_at(self) -> float:
        """When the next packet is to be handed over."""
        return self._on_the_way[0][0] if self._on_the_way else float("inf")

    def take(self, now: float) -> None:
        """Read the packets that wait at the source."""
        with suppress(BlockingIOError):
            while True:
                packet = os.read(self.source, LARGEST_PACKET)
                if len(self._on_the_way) < MOST_ON_THE_WAY:
                    due = now + self._delay_s * random.uniform(0.8, 1.2)
                    last = self._on_the_way[-1][0] if self._on_the_way else due
                    self._on_the_way.append((max(due, last), packet))

    def hand_over(self, now: float) -> None:
        while self.due_at() <= now:
            _, packet = self._on_the_way.popleft()
            with suppress(OSError):  # the device is down: the cable is cut
                os.write(self._target, packet)


def open_device(name: str) -> int:
    """A TAP device of this name.  Raises OSError where the kernel gives none."""
    descriptor = os.open(CLONE, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


def main() -> int:
    delay_s = float(sys.argv[1]) / 1000
    directions, waiting = list[Direction](), selectors.DefaultSelector()
    for cable in sys.argv[2:]:
        one, other = map(open_device, cable.split(":"))
        directions += [Direction(one, other, delay_s), Direction(other, one, delay_s)]
    for direction in directions:
        waiting.register(direction.source, selectors.EVENT_READ, direction)
    waiting.register(sys.stdin, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        wait_s = min(direction.due_at() for direction in directions) - time.monotonic()
        ready = waiting.select(None if wait_s == float("inf") else max(wait_s, 0))
        now = time.monotonic()
        for key, _ in ready:
            if key.data is None:
                return 0
            key.data.take(now)
        for direction in directions:
            direction.hand_over(now)


if __name__ == "__main__":
    sys.exit(main())
