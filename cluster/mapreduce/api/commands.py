"""Programs in place of map or reduce, as in Hadoop streaming: text lines in, lines of key TAB value out.

Pure: how a program is started and fed is told by `ringmill.Command` (cluster/adapters/processes/command.py).
One program runs for a task: as map it reads the lines of the task's split, as reduce a line of key TAB value
for each value, sorted by key, and finds by itself where one key ends and the next begins.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any, Final

from xxhash import xxh3_64_hexdigest

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.formats import FileInput
from ringmill.cluster.mapreduce.codecs.signatures import Gives, Signature
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.failures import shown
from ringmill.cluster.mapreduce.files.rendering import rendered

__all__ = ["ExternalCommand", "check_command_input", "check_commands", "command_files"]

_OTHER: Final = re.compile(r"[^A-Za-z0-9_-]")
_SHOWN_CHARS: Final = 39  # with what is before and behind it a name has at most 64
_FORMATS: Final = ("lines", "bytes", "raw")


class ExternalCommand(ABC):
    """A program and its arguments.  Parts that begin with ./ or ../ are files, which are side data."""

    argv: tuple[str, ...]
    gives: str
    """ "pairs": key TAB value a line, the value empty without a tab.  "lines": keys without values."""

    @property
    def title(self) -> str:
        """For messages."""
        return f"command {' '.join(self.argv)!r:.200}"

    @property
    def own_files(self) -> list[str]:
        """The parts that are files."""
        return [part for part in self.argv if part.startswith(("./", "../"))]

    def line(self, context: Context) -> list[str]:
        """Program and arguments as a task starts it."""
        own = self.own_files
        return [context.side(_side_name(part)) if part in own else part for part in self.argv]

    def signature(self) -> Signature:
        """Text keys and values, or lines as they are."""
        key, value = (str, str) if self.gives == "pairs" else (bytes, None)
        gives = Gives.PAIRS if self.gives == "pairs" else Gives.KEYS
        return Signature(self.title, None, bytes, key, value, wants_context=False, gives=gives)

    @abstractmethod
    def through(self, blocks: Iterator[bytes], context: Context) -> Iterator[bytes]:
        """What the program makes of these blocks of whole lines: blocks of whole lines.

        Raises TaskFailed when it cannot be started, or fails.
        """

    def mapped(self, batches: Iterable[tuple[int, bytes]], context: Context) -> Iterator[list[Any]]:
        """Pairs, or keys alone, of the blocks of a split."""
        blocks = (block if block.endswith(b"\n") else block + b"\n" for _, block in batches if block)
        for block in self.through(blocks, context):
            yield self._results(block)

    def reduced(
        self, groups: Iterable[tuple[Any, Iterable[Any]]], context: Context
    ) -> Iterator[tuple[Any, Any]]:
        """Pairs of the groups of a partition."""
        pairs = (pair for key, values in groups for pair in zip(repeat(key), values))
        blocks = (data for _, data in rendered(pairs, "tsv", "map", f"before {self.title}"))
        for block in self.through(blocks, context):
            results = self._results(block)
            yield from results if self.gives == "pairs" else zip(results, repeat(None))

    def _results(self, block: bytes) -> list[Any]:
        if self.gives == "lines":
            return block.split(b"\n")[:-1]
        lines = block.decode("utf-8", "surrogateescape").split("\n")[:-1]
        return [line.partition("\t")[::2] for line in lines]

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise InvalidArgument(f"{self.title} takes the lines of a whole task, not one record")


def command_files(*functions: Callable[..., Any] | object) -> Mapping[str, str]:
    """The side data of those of the functions that are commands.

    Raises InvalidArgument for two files of one name, of which tasks would get the same.
    """
    found: dict[str, str] = {}
    parts = (part for each in functions if isinstance(each, ExternalCommand) for part in each.own_files)
    for part in parts:
        if found.setdefault(name := _side_name(part), part) != part:
            raise InvalidArgument(
                f"the files {found[name]} and {part} of commands both have the name {name} as side data",
                hint="rename one of them",
            )
    return found


def check_commands(maps: Iterable[Any], reduce: object, *, order: str, group_by: int) -> None:
    """Raises InvalidArgument for what a program cannot do."""
    if order == "total" and any(isinstance(each, ExternalCommand) for each in maps):
        raise InvalidArgument(
            "order='total' puts a sample through map, and a command takes the lines of a whole task",
            hint="say reducers=1, or sort by a second job whose map is a function",
        )
    if group_by and isinstance(reduce, ExternalCommand):
        raise InvalidArgument(
            f"{reduce.title} sees every key and finds its groups by itself, so group_by has no meaning",
            hint="let partition choose the part by the first field of the key",
        )


def check_command_input(command: ExternalCommand, input: object) -> None:
    """Raises InvalidArgument for an input that has no lines."""
    if not isinstance(input, FileInput) or input.format not in _FORMATS or input.columns:
        raise InvalidArgument(
            f"{command.title} reads lines, and the input is {shown(input, 100)}",
            hint='FileInput("lines") gives it the lines of jsonl and csv files, too',
        )


def _side_name(part: str) -> str:
    """One that side data may have: its end is the hash of the whole part, of which the rest is what shows."""
    shown_part = _OTHER.sub("_", part.lstrip("./"))[-_SHOWN_CHARS:]
    return f"program-{shown_part}-{xxh3_64_hexdigest(part.encode('utf-8', 'surrogateescape'))}"
