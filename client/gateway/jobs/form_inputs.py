"""The inputs of one form: they get their names when its job is handed over, and go if it is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self

from ringmill.client.gateway.jobs.kept_inputs import KeptInputs, WrittenInput
from ringmill.cluster.errors import DiskFull, InvalidArgument, Overloaded, PermissionDenied, Unavailable

__all__ = ["FormInputs"]

_REFUSALS: Final = (InvalidArgument, PermissionDenied, Unavailable, Overloaded, DiskFull)
"""A member that tells one of them has not taken the job, and neither has one that was asked before it."""


class FormInputs:
    """Used for the time of one submission, which ends with its error, if any."""

    def __init__(self, kept: KeptInputs | None) -> None:
        """None for a gateway without a folder for them."""
        self._kept = kept
        self._written: list[WrittenInput] = []
        self._named: list[WrittenInput] = []  # those of them that were not there before

    async def take(self, name: str, pieces: AsyncIterator[bytes]) -> str:
        """Write one, and return the path by which the job will read it.

        Raises as `KeptInputs.write`, and InvalidArgument when this gateway has no folder for them.
        """
        if self._kept is None:
            raise InvalidArgument(
                "this gateway keeps no inputs",
                hint="it does with --jobs-folder; or name a path that nodes see",
            )
        written = await self._kept.write(name, pieces)
        self._written.append(written)
        return written.path

    async def publish(self) -> None:
        """Have the nodes find all of them: what comes next is that the job is handed over.

        Raises as `KeptInputs.name`.
        """
        for each in self._written:
            assert self._kept is not None, "it has written them"
            if await self._kept.name(each):
                self._named.append(each)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._kept is None:
            return
        if isinstance(error, _REFUSALS) and error.outcome == "failed":
            for each in self._named:
                await self._kept.withdraw(each)
        for each in self._written:
            await self._kept.forget(each)
