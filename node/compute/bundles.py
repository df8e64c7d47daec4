"""Code bundles on this node's disk, named by the SHA-256 of their bytes, kept across jobs.

A bundle comes from a client (PutBundle) or is fetched in chunks from a node that has it.  It gets its name
only after its hash was checked, so that a name always means the same bytes.  Only a task process unpacks and
imports it.

A bundle of more than one chunk spreads as a tree: a node sends it to two others, and names one of those to
everybody else who asks.  Who gets it neither there nor from those that are named there, or gets other bytes,
comes back to the first node and is not sent away again.

What no open job needs is dropped when it has not been used for long, or takes too much room with the others
(node/jobs/bundle_bounds.py says which jobs are open).

See: docs/formats/bundle.md.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgpack

from ringmill.cluster.errors import (
    CorruptData,
    DiskFull,
    InvalidArgument,
    NotFound,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.bundle import MAX_BUNDLE_BYTES, check_bundle
from ringmill.cluster.mapreduce.well_formed import text, well_formed, whole_number
from ringmill.cluster.os_errors import error_text, is_full
from ringmill.cluster.ports import Clock, FileSystem, Handler, Incoming, Priority, Transport
from ringmill.node.contracts import KeptBundle

__all__ = ["BUNDLE_FETCH", "BundleNotKept", "BundleStore"]

BUNDLE_FETCH: Final = "bundle.fetch"
_CHUNK_BYTES: Final = 1024 * 1024
_CHUNK_TIMEOUT_S: Final = 10.0
_NAMED_TIMEOUT_S: Final = 3.0  # of a node that was named by another one: it may hang, and there is a way back
_SHA256_DIGITS: Final = 64
_COPIES: Final = 2  # that a node sends of a bundle, if nobody comes back
_ARRIVES_WITHIN_S: Final = 2.5
_MOST_HOPS: Final = 20
_ARRIVING: Final = ".arriving"
_NANO: Final = 1_000_000_000


class BundleNotKept(Unavailable):
    """This node's own disk fails."""


class BundleStore:
    """The bundles in one folder.  `handlers` serves them to peers."""

    def __init__(self, folder: str, *, files: FileSystem, transport: Transport, clock: Clock) -> None:
        if not folder.startswith("/"):
            raise InvalidArgument(f"bundle folder {folder!r} must be absolute: task processes import from it")
        self._folder = folder
        self._files = files
        self._transport = transport
        self._clock = clock
        self._used: dict[str, float] = {}  # by SHA-256, in seconds of the wall clock; since this start
        self._arrivals = 0
        self._is_named = False  # the folder's own name is durable
        self._pulling: dict[str, asyncio.Lock] = {}
        self._sent_to: dict[str, list[NodeId]] = {}  # bundles by SHA-256, the one named last at the end

    def handlers(self) -> Mapping[str, Handler]:
        return {BUNDLE_FETCH: self._serve_chunk}

    def remove_halves(self) -> None:
        """What was arriving when a former start of this node was killed; nothing may arrive yet."""
        with suppress(OSError):  # what stays takes room, and is in nobody's way
            for name in self._files.list(self._folder) if self._files.is_dir(self._folder) else ():
                if name.endswith(_ARRIVING):
                    self._files.unlink(f"{self._folder}/{name}")

    def has(self, sha256: str) -> bool:
        return self._files.exists(self.path(sha256))

    def path(self, sha256: str) -> str:
        """The path of a bundle, whether it exists or not.

        Raises InvalidArgument when `sha256` is not a SHA-256.
        """
        if (
            not isinstance(sha256, str)
            or len(sha256) != _SHA256_DIGITS
            or set(sha256) - set("0123456789abcdef")
        ):
            raise InvalidArgument(f"a bundle is named by 64 hexadecimal digits, not {str(sha256)[:80]!r}")
        return f"{self._folder}/{sha256}.zip"

    async def put(self, sha256: str, chunks: AsyncIterator[bytes]) -> int:
        """Keep a bundle; returns its size in bytes.

        Raises CorruptData when the bytes do not have this hash, InvalidArgument for what is no bundle or is
        above 16 MiB; DiskFull and BundleNotKept when this node cannot write it.
        """
        target = self.path(sha256)
        arrived = bytearray()
        async for chunk in chunks:
            arrived += chunk
            if len(arrived) > MAX_BUNDLE_BYTES:
                raise InvalidArgument(f"a bundle has at most {MAX_BUNDLE_BYTES} bytes")
        data = bytes(arrived)
        check_bundle(data, sha256)
        self._used[sha256] = self._clock.wall()
        if not self.has(sha256):
            try:
                await self._keep(target, data)
            except OSError as error:
                self._used.pop(sha256, None)
                raise _not_kept(sha256, error) from error
        return len(data)

    async def _keep(self, target: str, data: bytes) -> None:
        """Write a bundle so that it appears complete or not at all, even after a crash."""
        self._files.mkdir(self._folder)
        self._arrivals += 1
        arriving = f"{target}.{self._arrivals}{_ARRIVING}"
        if self._files.exists(arriving):  # left by a start of this node that was killed
            self._files.unlink(arriving)
        file = self._files.create(arriving)
        try:
            try:
                await file.append_and_sync(data)
            finally:
                file.close()
            self._files.rename(arriving, target)
        except BaseException:
            with suppress(OSError):
                self._files.unlink(arriving)
            raise
        self._files.fsync_dir(self._folder)
        if not self._is_named:  # before the first bundle of this start counts as kept: the folder may be new
            self._files.fsync_dir(posixpath.dirname(self._folder))
            self._is_named = True

    async def ensure(self, sha256: str, source: NodeId) -> str:
        """The path of a bundle, fetched from `source` if it is not here; one fetch at a time for each
        bundle.  Raises RingmillError, like `put` among others."""
        self._used[sha256] = self._clock.wall()
        if not self.has(sha256):
            try:
                async with self._pulling.setdefault(sha256, asyncio.Lock()):
                    if not self.has(sha256):
                        await self._fetch(sha256, source)
            except BaseException:
                self._used.pop(sha256, None)
                raise
            finally:
                self._pulling.pop(sha256, None)
        return self.path(sha256)

    def excess(
        self, in_use: Collection[str] = (), *, most_bytes: int, longest_s: float, least_s: float
    ) -> list[KeptBundle]:
        """The bundles that nobody has used for `longest_s` seconds, or beyond `most_bytes` together, the
        longest unused first.

        Those `in_use`, and those used within `least_s` seconds, are none of them; they take room as well.
        A bundle counts as used when it arrives, and whenever a job or an attempt asks for it; by a clock that
        was ahead then, from now on.
        """
        now, kept = self._clock.wall(), sorted(self._kept(), key=lambda bundle: bundle.used_at)
        too_much = sum(bundle.size for bundle in kept) - most_bytes
        excess = []
        for bundle in kept:
            unused_s = now - bundle.used_at
            if bundle.sha256 in in_use or unused_s < least_s:
                continue
            if too_much > 0 or unused_s > longest_s:
                too_much -= bundle.size
                excess.append(bundle)
        return excess

    def drop(self, bundle: KeptBundle) -> None:
        """Forget a bundle; whoever needs it again fetches it.  Raises OSError."""
        with suppress(FileNotFoundError):
            self._files.unlink(self.path(bundle.sha256))
        self._used.pop(bundle.sha256, None)
        self._sent_to.pop(bundle.sha256, None)

    def _kept(self) -> list[KeptBundle]:
        kept = []
        for name in self._files.list(self._folder) if self._files.is_dir(self._folder) else ():
            sha256, _, rest = name.partition(".")
            if rest != "zip" or len(sha256) != _SHA256_DIGITS or sha256 in self._pulling:
                continue
            path = self.path(sha256)
            kept.append(KeptBundle(sha256, self._files.size(path), self._used_at(sha256, path)))
        return kept

    def _used_at(self, sha256: str, path: str) -> float:
        """When it arrived or was used.  A time that is still to come is of a clock that was ahead then: from
        now on it counts as used when that was first seen."""
        now, arrived_at = self._clock.wall(), self._files.mtime_ns(path) / _NANO
        used_at = self._used.get(sha256, arrived_at)
        if used_at > now:
            used_at = self._used[sha256] = now
        return max(used_at, arrived_at) if arrived_at <= now else used_at

    async def _fetch(self, sha256: str, source: NodeId) -> None:
        way = _Way(source)
        try:
            await self.put(sha256, self._pull(sha256, way))
        except (CorruptData, InvalidArgument):
            if not way.hops:
                raise  # all bytes came from the source
            way.go_back()
            await self.put(sha256, self._pull(sha256, way))

    async def _pull(self, sha256: str, way: _Way) -> AsyncIterator[bytes]:
        offset, total = 0, 1
        while offset < total:
            request = msgpack.packb([sha256, offset, way.insists])
            timeout_s = _CHUNK_TIMEOUT_S if way.at == way.source else _NAMED_TIMEOUT_S
            try:
                answer = await self._transport.call(
                    way.at, BUNDLE_FETCH, request, timeout_s=timeout_s, priority=Priority.BULK
                )
            except RingmillError:
                if way.at == way.source:
                    raise
                way.go_back()
                continue
            with well_formed("a piece of a bundle"):
                size, chunk, named = msgpack.unpackb(answer)
                total, chunk = whole_number(size, most=MAX_BUNDLE_BYTES), bytes(memoryview(chunk))
                named = NodeId(text(named))
            if named and not way.insists:
                way.go_on(named)
                continue
            if not chunk:
                return  # shorter than told: the hash will say so
            offset += len(chunk)
            yield chunk

    async def _serve_chunk(self, incoming: Incoming) -> bytes:
        with well_formed("a request for a bundle"):
            sha256, offset, insists = msgpack.unpackb(incoming.body)
            path, offset = self.path(sha256), whole_number(offset)
        if not self.has(sha256) and not await self._arrives(sha256):
            raise NotFound(f"no bundle {sha256[:12]} on this node")
        try:  # without waiting: a task may read the file, and so hold on to it
            file = await self._files.off_loop(self._files.open_below, self._folder, path)
        except OSError as error:
            raise Unavailable(
                f"bundle {sha256[:12]} cannot be read: {error.strerror}", outcome="failed"
            ) from error
        try:
            named = ""
            if file.size > _CHUNK_BYTES and not insists:
                named = self._sent_away(sha256, incoming.sender)
            chunk = b"" if named else await file.pread_off_loop(_CHUNK_BYTES, offset)
            return bytes(msgpack.packb([file.size, chunk, named]))
        finally:
            file.close()

    async def _arrives(self, sha256: str) -> bool:
        """Whether a bundle that is being fetched is here soon."""
        if (pulling := self._pulling.get(sha256)) is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ARRIVES_WITHIN_S), pulling:
                    pass
        return self.has(sha256)

    def _sent_away(self, sha256: str, asker: NodeId) -> str:
        """The node to ask in place of this one; empty for one of the first two that ask."""
        sent_to = self._sent_to.setdefault(sha256, [])
        if asker not in sent_to and len(sent_to) < _COPIES:
            sent_to.append(asker)
        if asker in sent_to:
            return ""
        sent_to.append(sent_to.pop(0))
        return sent_to[-1]


def _not_kept(sha256: str, error: OSError) -> RingmillError:
    text = f"bundle {sha256[:12]} cannot be written: {error_text(error)}"
    if is_full(error):
        return DiskFull(text, hint="make room on the disk of this node")
    return BundleNotKept(text, outcome="failed")


@dataclass(slots=True)
class _Way:
    """Where a bundle is fetched: `source` was asked first."""

    source: NodeId
    at: NodeId = field(init=False)
    hops: int = 0
    insists: bool = False  # on being served by the source

    def __post_init__(self) -> None:
        self.at = self.source

    def go_on(self, node: NodeId) -> None:
        self.hops += 1
        self.at = node
        if self.hops > _MOST_HOPS:
            self.go_back()

    def go_back(self) -> None:
        self.at, self.insists = self.source, True
