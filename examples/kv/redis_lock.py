"""redis-py's lock at a gateway, which runs no scripts: each step of it is a transaction on the lock's key.

client.lock("report", timeout=30, lock_class=GatewayLock)
"""

from collections.abc import Callable
from typing import Literal

from redis.client import Pipeline
from redis.exceptions import LockNotOwnedError, WatchError
from redis.lock import Lock


class GatewayLock(Lock):
    """Used as redis-py's own: acquire, release, extend, reacquire, `with`."""

    def register_scripts(self) -> None:
        """There are none."""

    def do_release(self, expected_token: str) -> None:
        self._change(expected_token, lambda pipeline, _: pipeline.delete(self.name))

    def do_extend(self, additional_time: float, replace_ttl: bool) -> Literal[True]:
        more_ms = int(additional_time * 1000)

        def change(pipeline: Pipeline, left_ms: int) -> None:
            pipeline.pexpire(self.name, more_ms if replace_ttl else left_ms + more_ms)

        return self._change(self.local.token, change)

    def do_reacquire(self) -> Literal[True]:
        whole_ms = int((self.timeout or 0) * 1000)
        return self._change(
            self.local.token, lambda pipeline, _left_ms: pipeline.pexpire(self.name, whole_ms)
        )

    def _change(self, token: str | bytes | None, change: Callable[[Pipeline, int], object]) -> Literal[True]:
        """Make a change if the lock is held with this token, in the same step.  Raises LockNotOwnedError."""
        encode = self.redis.get_encoder().encode
        with self.redis.pipeline() as pipeline:
            while True:
                pipeline.watch(self.name)
                held, left_ms = pipeline.get(self.name), pipeline.pttl(self.name)
                if held is None or encode(held) != token:
                    raise LockNotOwnedError("the lock is not held, or by another one", lock_name=self.name)
                pipeline.multi()
                change(pipeline, left_ms)
                try:
                    pipeline.execute()
                except WatchError:
                    continue  # it was released or extended meanwhile: look again
                return True
