"""Has a caller's module imported in a process of its own, and takes the packed job from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final, NamedTuple

from ringmill.client.gateway.jobs.reading_order import ReadingOrder, job_in_answer
from ringmill.cluster.errors import InvalidArgument, Overloaded, RingmillError, Unavailable
from ringmill.cluster.mapreduce.api.bundle import Bundle
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.ports import FileSystem, TaskProcess, TaskStarter

__all__ = ["ModuleReader", "ReadJob"]

READ_S: Final = 20.0
"""For how long a module may take to import, in seconds."""
AT_ONCE: Final = 2
MOST_WAITING: Final = 16
_MEMORY_BYTES: Final = 2 << 30  # as a task has it, with the address space that libraries reserve
_LIMITS: Final[Mapping[str, int]] = {
    "as_bytes": 8 * _MEMORY_BYTES, "family_bytes": _MEMORY_BYTES, "cpu_s": 20, "open_files": 256,
    "file_bytes": 16 << 20, "processes": 64,
}  # fmt: skip
_ENVIRONMENT: Final[Mapping[str, str]] = {
    "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1", "MIMALLOC_ARENA_RESERVE": "65536",
}  # fmt: skip
_MOST_PRINTED: Final = 2000


class ReadJob(NamedTuple):
    """What is handed over to the cluster."""

    bundle: Bundle
    spec: JobSpec


class ModuleReader:
    """Reads two modules at a time; others wait.  `new_folder` makes a folder of this user alone."""

    def __init__(self, starter: TaskStarter, files: FileSystem, new_folder: Callable[[], str]) -> None:
        self._starter = starter
        self._files = files
        self._new_folder = new_folder
        self._room = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def read(self, order: ReadingOrder) -> ReadJob:
        """The job, as `ringmill job run` would submit it.

        Raises InvalidArgument for a module that does not import within 20 s, sources or settings that are not
        valid; Overloaded while many others wait; Unavailable when no process can be made.
        """
        if self._waiting >= MOST_WAITING:
            raise Overloaded("the gateway reads other modules now", detail={"retry_after": 1.0})
        self._waiting += 1
        try:
            async with self._room:
                return await self._read(order)
        finally:
            self._waiting -= 1

    async def _read(self, order: ReadingOrder) -> ReadJob:
        encoded = order.encode()
        making = asyncio.ensure_future(self._files.off_loop(self._new_folder))
        try:
            answer = await self._answer_in(await asyncio.shield(making), encoded)
        except OSError as error:
            raise Unavailable(f"no process to import the module: {error}", outcome="failed") from error
        finally:  # also when the caller has gone before its folder was there
            await asyncio.wait([making])
            if making.exception() is None:
                await self._files.off_loop(self._files.remove_tree, making.result())
        return _checked(order, *job_in_answer(answer))

    async def _answer_in(self, folder: str, order: bytes) -> bytes:
        """Raises OSError when no process can be made; as `_answer_of`."""
        process = await self._starter.start_task(workdir=folder, environment=_ENVIRONMENT, limits=_LIMITS)
        try:
            return await _answer_of(process, order)
        finally:
            process.kill()
            await process.wait()


async def _answer_of(process: TaskProcess, order: bytes) -> bytes:
    try:
        async with asyncio.timeout(READ_S):
            await process.send(order)
            return await process.receive()
    except TimeoutError:
        raise InvalidArgument(f"the module is not imported after {READ_S:g} s") from None
    except (EOFError, BrokenPipeError) as error:
        process.kill()
        await process.wait()
        printed = process.output().decode("utf-8", "replace").strip()[-_MOST_PRINTED:]
        why = f" ({process.breach})" if process.breach else ""
        raise InvalidArgument(
            f"the process that imports the module has ended{why}",
            detail={"printed": printed} if printed else None,
        ) from error


def _checked(order: ReadingOrder, data: bytes, module: str, encoded: bytes) -> ReadJob:
    """The job of this order and no other: its process may say anything.  Raises InvalidArgument."""
    try:
        spec = JobSpec.decode(encoded)
    except RingmillError as error:
        raise InvalidArgument(f"the module has spoilt what was said of it: {error.message}") from error
    bundle = Bundle(data, sha256(data).hexdigest(), module, ())
    if spec.job != order.job or spec.bundle_sha256 != bundle.sha256:
        raise InvalidArgument("the module has spoilt what was said of it")
    if spec.collect_bytes:
        raise InvalidArgument(
            "CollectOutput is for whoever waits in Python for the end of the job", hint="name an output"
        )
    return ReadJob(bundle, spec)
