"""A checked job, and what follows from its parts: codecs, groups, sources, files of the user.

Pure.  `job()` in definition.py makes one; a task process makes the same from module and name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import FunctionType
from typing import Any, Literal, TypeAlias

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.branches import columns_of
from ringmill.cluster.mapreduce.api.chains.round_result import Until
from ringmill.cluster.mapreduce.api.folds import BoundFold, travelling
from ringmill.cluster.mapreduce.api.formats import FileInput, FileOutput, OutputCompression
from ringmill.cluster.mapreduce.api.job_keyspaces import KvInput, Output
from ringmill.cluster.mapreduce.api.joining.join_steps import Joining
from ringmill.cluster.mapreduce.api.sources import Branch
from ringmill.cluster.mapreduce.codecs.codecs import (
    KeyCodec,
    KeyPrefix,
    ValueCodec,
    key_codec,
    key_prefix,
    value_codec,
)
from ringmill.cluster.mapreduce.codecs.signatures import Gives, Hint, Signature
from ringmill.cluster.mapreduce.codecs.typed_records import TypedRecords
from ringmill.cluster.mapreduce.failures import shown
from ringmill.cluster.mapreduce.files.tables.csv_records import CsvRecords
from ringmill.cluster.mapreduce.files.tables.parquet_part import ParquetPart, check_parquet_types
from ringmill.cluster.mapreduce.files.tables.part_forms import HeaderForm, PartForm
from ringmill.cluster.mapreduce.files.tables.row_shapes import RowShape
from ringmill.cluster.mapreduce.made_at import MadeAt, made_here

__all__ = ["JobDefinition", "Order", "Pairs", "as_grouped"]

Pairs: TypeAlias = Iterable[tuple[Any, Any]]
Order: TypeAlias = Literal["key", "input", "total"]


@dataclass(frozen=True)
class JobDefinition:
    """A checked job.  Make one with `job()`."""

    map: Callable[..., Pairs]
    combine: Callable[..., Pairs] | None  # a function; None when it is a fold
    reduce: Callable[..., Pairs] | None  # the same
    input: FileInput | KvInput
    output: Output
    reducers: int
    params: Mapping[str, str]
    map_signature: Signature = field(repr=False)
    combine_signature: Signature | None = field(repr=False)
    reduce_signature: Signature | None = field(repr=False)  # of the fold, too
    task_memory_mib: int = 0
    network: bool = False  # whether tasks may open connections
    combine_fold: BoundFold | None = field(default=None, repr=False)
    reduce_fold: BoundFold | None = field(default=None, repr=False)
    is_batch: bool = False  # map takes many records at a time
    split_mib: int = 0
    order: Order = "key"
    partition: Callable[..., int] | None = None
    on_bad_record: str = "fail"
    branches: tuple[Branch, ...] = ()  # of several inputs; map and input above are those of the first
    group_by: int = 0  # of how many parts of its key a group is; 0 for the whole key
    side: Mapping[str, str] = field(default_factory=dict)  # by name; "" where each submission gives the path
    joining: Joining | None = None  # of a job that join() declares
    broadcast_bytes: int = 0  # up to which a side of the join goes to every map task
    side_of_rows: int | None = None  # of a map of a join by hash: the side whose rows it leaves, unsorted
    until: Until | None = None  # of an iteration, in a chain: whether a round was the last
    update: Callable[..., Any] | None = None  # in place of reduce, whose signature is then what it gives
    made_at: MadeAt = field(default_factory=made_here, repr=False, compare=False)

    @cached_property
    def key_codec(self) -> KeyCodec:
        """How keys cross the shuffle; its byte order is the order of groups."""
        return key_codec(self.map_signature.out_key, self.map_signature.where)

    @cached_property
    def group_prefix(self) -> KeyPrefix | None:
        """What of a key tells its group, and its part; None for the whole key."""
        signature = self.map_signature
        return key_prefix(signature.out_key, self.group_by, signature.where)[0] if self.group_by else None

    @cached_property
    def value_codec(self) -> ValueCodec:
        """How values cross the shuffle; in the order of the input, they are records that map has rendered."""
        if self.order == "input":
            return value_codec(tuple[int, bytes], self.map_signature.where)
        return value_codec(travelling(self.map_signature, self.combine_fold), self.map_signature.where)

    @cached_property
    def types(self) -> TypedRecords | None:
        """Of the records of an output that keeps them."""
        if self.output.format != "records":
            return None
        return TypedRecords(*self.gives, self.last_signature.where)

    @cached_property
    def record_form(self) -> TypedRecords | CsvRecords | None:
        """How records are rendered where that follows from their types; those of parquet are typed records
        until a part is made of them.  Raises InvalidArgument for types that the format has no place for."""
        if self.output.format == "csv":
            return CsvRecords(self._row_shape)
        if self.output.format == "parquet":
            check_parquet_types(self._row_shape, self.last_signature.where)
            return TypedRecords(*self.gives, self.last_signature.where)
        return self.types

    def part_form(self) -> PartForm | None:
        """What makes a part of what is rendered, where that is more than the records one after the other."""
        output, form = self.output, self.record_form
        if isinstance(form, CsvRecords) and isinstance(output, FileOutput) and output.columns:
            return HeaderForm(form.header)
        if output.format != "parquet" or not isinstance(output, FileOutput):
            return None
        assert isinstance(form, TypedRecords)
        return ParquetPart(form, self._row_shape, output.compression, self.last_signature.where)

    @cached_property
    def _row_shape(self) -> RowShape:
        assert isinstance(self.output, FileOutput)
        return RowShape(*self.gives, self.output.columns, self.last_signature.where)

    @property
    def last_signature(self) -> Signature:
        """Of what gives the records of the output."""
        return self.reduce_signature or self.map_signature

    @property
    def gives(self) -> tuple[Hint, Hint]:
        """The types of the keys and values of the output."""
        return self.last_signature.out_key, self.last_signature.out_value

    @cached_property
    def _of_sources(self) -> tuple[JobDefinition, ...]:
        return tuple(
            replace(
                self, map=each.map, map_signature=each.signature, input=each.input, is_batch=each.is_batch
            )
            for each in self.branches
        )

    def of_source(self, number: int) -> JobDefinition:
        """The same job as one input of several is mapped."""
        return self._of_sources[number] if self.branches else self

    @cached_property
    def kept(self) -> dict[bytes, Any]:
        """What tasks of one run leave for the next ones in their process, by the run's description."""
        return {}

    @property
    def source_names(self) -> tuple[str, ...]:
        """Of a job of several inputs; empty where the input has no name."""
        return tuple(each.name for each in self.branches)

    @property
    def ends(self) -> dict[str, FileInput | KvInput]:
        """What each source reads, by its name; "" is that of the one input of a job without names."""
        return {each.name: each.input for each in self.branches} or {"": self.input}

    @property
    def reads_keyspace(self) -> bool:
        """Whether one of its inputs is a keyspace."""
        return any(isinstance(end, KvInput) for end in self.ends.values())

    @property
    def broadcast_names(self) -> tuple[str, ...]:
        """The sources that may go to every map task of the other one: a side whose rows need not be kept, and
        that lies in files."""
        joining = self.joining
        if joining is None or not self.broadcast_bytes:
            return ()
        return tuple(
            name for side, name in enumerate(self.source_names) if not joining.keeps(side)
            and isinstance(joining.sides[side].input, FileInput)
        )  # fmt: skip

    def join_by(self, *, sets_aside: bool = False) -> str:
        """How the rows of a join meet, as a description says it; "" for a merge, and where all rows of one
        side go to every map task.  Nothing sets bad records aside where no reduce gathers them."""
        if self.joining is None:
            return ""
        by_auto = "copartitioned" if self.joining.is_by_tag and not sets_aside else "hash"
        chosen = {"auto": by_auto, "hash": "hash", "copartitioned": "copartitioned"}
        return chosen.get(self.joining.strategy, "")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the input that map_batch gets; () for all, and where there are none."""
        return columns_of(self.input)

    @property
    def output_compression(self) -> OutputCompression:
        """Of the part files as a whole."""
        output = self.output
        if not isinstance(output, FileOutput) or output.format == "parquet":  # which packs its columns itself
            return "none"
        return output.compression

    @property
    def keys_alone(self) -> bool:
        """Whether the output is the keys that map_batch gives, of every source, which then need no groups."""
        others = self.combine, self.reduce, self.update, self.combine_fold, self.reduce_fold
        makers = [each.signature for each in self.branches] or [self.map_signature]
        return all(each.gives is Gives.KEYS for each in makers) and all(each is None for each in others)

    @property
    def user_files(self) -> frozenset[str]:
        """Source files of the job's functions; they distinguish the user's stack frames from the engine's."""
        functions = [self.map, self.combine, self.reduce, self.update, self.partition, self.until]
        functions += (each.map for each in self.branches)
        functions += self.joining.functions if self.joining is not None else ()
        return frozenset(f.__code__.co_filename for f in functions if isinstance(f, FunctionType))


def as_grouped(maker: Signature, combine_fold: BoundFold | None, group_by: int) -> Signature:
    """What reduce takes: the key of a group, and values as they travel.  Raises InvalidArgument."""
    key = maker.out_key
    if type(group_by) is not int or group_by < 0:
        raise InvalidArgument(f"group_by is a number of parts of the key, not {shown(group_by, 40)}")
    if group_by:
        key = key_prefix(key, group_by, f"map {maker.where}")[1]
    return replace(maker, out_key=key, out_value=travelling(maker, combine_fold))
