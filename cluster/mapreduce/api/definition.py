"""The definition of a job: functions of an ordinary module, the input format and the output format.

Pure.  `job()` refuses every error that can be found without looking at the data, before anything is sent.  A
job is identified by module and name; it is never pickled.

See: docs/formats/job.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import FunctionType, GenericAlias, NoneType
from typing import Any, Final, Literal, TypeAlias, get_args

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import MAX_REDUCERS, MAX_SPLIT_MIB
from ringmill.cluster.mapreduce.api.bad_records import bad_records_of
from ringmill.cluster.mapreduce.api.branches import branches_of, columns_of
from ringmill.cluster.mapreduce.api.chains.round_result import Until
from ringmill.cluster.mapreduce.api.commands import ExternalCommand, check_commands, command_files
from ringmill.cluster.mapreduce.api.folds import BoundFold, Collect, Count, Fold, Sum
from ringmill.cluster.mapreduce.api.formats import FileInput, FileOutput, OutputCompression, one_of
from ringmill.cluster.mapreduce.api.job_keyspaces import KvInput, KvOutput, Output, check_kv_output
from ringmill.cluster.mapreduce.api.join_steps import Joining
from ringmill.cluster.mapreduce.api.sources import Branch, Source, check_names
from ringmill.cluster.mapreduce.codecs.codecs import (
    KeyCodec,
    KeyPrefix,
    ValueCodec,
    key_codec,
    key_prefix,
    value_codec,
)
from ringmill.cluster.mapreduce.codecs.signatures import (
    Gives,
    Hint,
    Signature,
    check_partition,
    element_of,
    fits,
    name_of,
    read_signature,
    unwrapped,
)
from ringmill.cluster.mapreduce.codecs.typed_records import TypedRecords
from ringmill.cluster.mapreduce.failures import shown
from ringmill.cluster.mapreduce.files.input_plan import ANY_SIZE

__all__ = ["JobDefinition", "job"]

Pairs: TypeAlias = Iterable[tuple[Any, Any]]
Order: TypeAlias = Literal["key", "input", "total"]

TASK_MEMORY_MIB: Final = (64, 1 << 20)


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
    until: Until | None = None  # of an iteration, in a chain: whether a round was the last

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
        return value_codec(_travelling(self.map_signature, self.combine_fold), self.map_signature.where)

    @cached_property
    def types(self) -> TypedRecords | None:
        """Of the records of an output that keeps them."""
        if self.output.format != "records":
            return None
        last = self.reduce_signature or self.map_signature
        return TypedRecords(last.out_key, last.out_value, last.where)

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
    def broadcast_names(self) -> tuple[str, ...]:
        """The sources that may go to every map task of the other one: a side whose rows need not be kept."""
        if self.joining is None or not self.broadcast_bytes:
            return ()
        return tuple(name for side, name in enumerate(self.source_names) if not self.joining.keeps(side))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the input that map_batch gets; () for all, and where there are none."""
        return columns_of(self.input)

    @property
    def output_compression(self) -> OutputCompression:
        """Of the part files."""
        return self.output.compression if isinstance(self.output, FileOutput) else "none"

    @property
    def keys_alone(self) -> bool:
        """Whether the output is the keys that map_batch gives, which then need no groups."""
        others = self.combine, self.reduce, self.combine_fold, self.reduce_fold
        return self.map_signature.gives is Gives.KEYS and all(each is None for each in others)

    @property
    def user_files(self) -> frozenset[str]:
        """Source files of the job's functions; they distinguish the user's stack frames from the engine's."""
        functions = [self.map, self.combine, self.reduce, self.partition, self.until]
        functions += (each.map for each in self.branches)
        functions += self.joining.functions if self.joining is not None else ()
        return frozenset(f.__code__.co_filename for f in functions if isinstance(f, FunctionType))


def job(
    *,
    map: Callable[..., Pairs] | None = None,
    map_batch: Callable[..., Any] | None = None,
    combine: Callable[..., Pairs] | Fold | None = None,
    reduce: Callable[..., Pairs] | Fold | None = None,
    input: FileInput | KvInput | None = None,
    sources: Sequence[Source] = (),
    output: Output | None = None,
    reducers: int = 4,
    params: Mapping[str, str] | None = None,
    task_memory_mib: int = 0,
    split_mib: int = 0,
    order: Order = "key",
    partition: Callable[..., int] | None = None,
    group_by: int = 0,
    side: Mapping[str, str] | None = None,
    on_bad_record: str = "fail",
) -> JobDefinition:
    """Declare a job, at the top level of a module.

    `map(key, value)` yields pairs for a record.  `map_batch(lines)` in its place takes many lines at a time,
    as its hint says: list[bytes], list[str], or bytes for a block of whole lines; parsed values in jsonl and
    csv.  It returns pairs, a dict, a Counter, or a list of keys without values; two parameters, `(offset,
    lines)`, tell it where the batch begins.  Its output must not depend on how lines are batched.  In place
    of map and input, `sources` are several inputs with a map and a format each; their keys have one type.

    `combine(key, values)` may be called any number of times to shorten the values of one key before they are
    sent.  `reduce(key, values)` yields the pairs that are written; without it those of map are, sorted by
    key.  Each function may take `ctx` as a third parameter.  Their type hints choose the codecs.  In place of
    both a named fold may stand: Sum(), Count(), Min(), Max(), Top(n), Distinct(), Collect(); as reduce it
    combines, too.  In place of map and of reduce a program may stand: Command(["./mapper"]).

    `order` is the order of the output.  "key": by key within each part; which part a key goes to follows from
    its hash, or from `partition(key, parts)`, which gives a number from 0 to parts - 1.  "total": by key over
    all parts, in ranges that a sample of the input shows.  "input": the pairs of map as they come, in the
    order of the input; there is no combine and no reduce, and nothing is sorted.  With `reducers=0` that is
    the order, nothing is sent from node to node, and each map task writes a part file.

    `group_by=n` makes one group of all keys that are equal in their first n parts, where keys are tuples or
    frozen dataclasses of more parts.  Its values come in the order of the whole key; reduce and partition get
    the first part, or the tuple of the first n.  combine gets the whole key.

    `side` names files that every task may read, as `ctx.side(name)` tells their paths; "" stands for a path
    that each submission gives.

    `params` are str parameters with their defaults, which each submission may change; functions read them as
    `ctx.params`.  `task_memory_mib` limits the memory of a task process and all that it starts; 0 means the
    limit of the nodes.  `split_mib` is the size aimed at for the input of a map task, in MiB; 0 means what
    follows from the size of the whole input.  `on_bad_record` is "fail", or "quarantine:N": then up to N
    records at which map or the parser of a format raises an error are set aside in the file _BAD_RECORDS.

    Raises InvalidArgument for a function that a task process could not import, for hints that are missing or
    do not fit together, and for a number out of range.
    """
    return _defined(
        branches_of(sources, Source("", map, map_batch, input)),
        combine,
        reduce,
        FileOutput() if output is None else output,
        reducers=reducers,
        params=dict(params or {}),
        task_memory_mib=task_memory_mib,
        split_mib=split_mib,
        order="input" if reducers == 0 and order == "key" else order,
        partition=partition,
        group_by=group_by,
        side={**command_files(map, *(each.map for each in sources), reduce), **(side or {})},
        on_bad_record=on_bad_record,
    )


def _defined(
    branches: Sequence[Branch],
    combine: Callable[..., Pairs] | Fold | None,
    reduce: Callable[..., Pairs] | Fold | None,
    output: Output,
    *,
    group_by: int,
    **settings: Any,
) -> JobDefinition:
    """Put a job together; `settings` are fields of JobDefinition.  Raises InvalidArgument."""
    first = branches[0]
    signature = first.signature
    combine_fold, reduce_fold = _folds(combine, reduce, signature)
    sent = _as_grouped(signature, combine_fold, group_by)
    definition = JobDefinition(
        map=first.map,
        combine=None if isinstance(combine, Fold) else combine,
        reduce=None if isinstance(reduce, Fold) else reduce,
        input=first.input,
        output=output,
        map_signature=signature,
        is_batch=first.is_batch,
        branches=tuple(branches) if first.name else (),
        combine_signature=_combine_signature(combine, signature),
        reduce_signature=_reduce_signature(reduce, reduce_fold, sent),
        combine_fold=combine_fold,
        reduce_fold=reduce_fold,
        group_by=group_by,
        **settings,
    )
    return check_definition(definition)


def check_definition(definition: JobDefinition) -> JobDefinition:
    """Raises InvalidArgument when its parts contradict each other, or a number is out of range."""
    _check_output_kind(definition.output)
    _check_numbers(definition.reducers, definition.task_memory_mib, definition.split_mib)
    check_quarantine(bad_records_of(definition.on_bad_record), definition)
    check_names("side data", definition.side)
    maps = [each.map for each in definition.branches] or [definition.map]
    check_commands(maps, definition.reduce, order=definition.order, group_by=definition.group_by)
    _check_order(definition)
    _check_combine(definition)
    _check_output(definition)
    return definition


def _check_numbers(reducers: int, task_memory_mib: int, split_mib: int) -> None:
    if type(reducers) is not int or not 0 <= reducers <= MAX_REDUCERS:
        raise InvalidArgument(f"reducers must be 0 to {MAX_REDUCERS}, not {shown(reducers, 40)}")
    check_task_memory(task_memory_mib)
    check_split_mib(split_mib)


def check_task_memory(mebibytes: int) -> None:
    """Raises InvalidArgument."""
    least, most = TASK_MEMORY_MIB
    if type(mebibytes) is not int or not (mebibytes == 0 or least <= mebibytes <= most):
        raise InvalidArgument(
            f"task_memory_mib must be {least} to {most}, or 0 for the nodes' limit, "
            f"not {shown(mebibytes, 40)}"
        )


def check_split_mib(mebibytes: int) -> None:
    """Raises InvalidArgument."""
    if type(mebibytes) is not int or not 0 <= mebibytes <= MAX_SPLIT_MIB:
        raise InvalidArgument(
            f"split_mib must be 1 to {MAX_SPLIT_MIB}, or 0 for what follows from the input's size, not "
            f"{shown(mebibytes, 40)}"
        )


def check_quarantine(bad_records: int, definition: JobDefinition) -> None:
    """Raises InvalidArgument for a job whose records cannot be set aside one by one."""
    if bad_records and any(each.is_batch for each in definition.branches or (definition,)):
        raise InvalidArgument(
            "on_bad_record='quarantine:N' needs to know which record is bad; map_batch takes many at once",
            hint="say map in its place, or catch the error in map_batch",
        )
    if bad_records and not definition.reducers:
        raise InvalidArgument(
            "on_bad_record='quarantine:N' with reducers=0: no task gathers the records that are set aside",
            hint="say order='input' and leave reducers=0 out",
        )
    if bad_records and definition.broadcast_bytes == ANY_SIZE:
        raise InvalidArgument(
            "on_bad_record='quarantine:N' sets a record aside once, and strategy='broadcast' reads those of "
            "one side in every task",
            hint="let the join have strategy='auto' or 'merge'",
        )


def _folds(combine: object, reduce: object, maker: Signature) -> tuple[BoundFold | None, BoundFold | None]:
    """The named folds among combine and reduce, bound to the types that they get.

    Raises InvalidArgument for two whose result would depend on where the input is cut.
    """
    if isinstance(reduce, Fold) and combine is None:
        combine = reduce
    if isinstance(combine, Fold) and not isinstance(reduce, Fold):
        _check_lone_combine(combine, reduce, maker)
    elif isinstance(combine, Fold) and combine != reduce and (combine, reduce) != (Count(), Sum()):
        raise InvalidArgument(
            f"reduce={reduce!r} of what combine={combine!r} leaves depends on where the input is cut",
            hint=f"leave combine out: reduce={reduce!r} combines by itself",
        )
    elif isinstance(reduce, Count) and not isinstance(combine, Fold):
        raise InvalidArgument(
            "reduce=Count() counts the values that map gives, and combine would change their number",
            hint="leave combine out: Count() combines by itself",
        )
    bound = combine.bind(maker.out_value, maker.where) if isinstance(combine, Fold) else None
    if not isinstance(reduce, Fold):
        return bound, None
    if combine == reduce and bound is not None:
        return (None if isinstance(combine, Collect) else bound), bound
    return bound, reduce.bind(_travelling(maker, bound), maker.where)


def _check_lone_combine(combine: Fold, reduce: object, maker: Signature) -> None:
    """A fold before a function: each map task leaves a result of its own, or several."""
    if reduce is None:
        raise InvalidArgument(
            f"combine={combine!r} without a reduce would write a result of each part of the input",
            hint=f"say reduce={combine!r}; it combines by itself",
        )
    bound = combine.bind(maker.out_value, maker.where)
    if isinstance(combine, Sum) and bound.add is None:
        raise InvalidArgument(
            "combine=Sum() of float leaves several values a key, which only reduce=Sum() adds without "
            "rounding twice",
            hint="say reduce=Sum(), or round to int in map",
        )


def _travelling(maker: Signature, combine_fold: BoundFold | None) -> Hint:
    """The type of the values between map and reduce."""
    return maker.out_value if combine_fold is None else combine_fold.travels


def _as_grouped(maker: Signature, combine_fold: BoundFold | None, group_by: int) -> Signature:
    """What reduce takes: the key of a group, and values as they travel.  Raises InvalidArgument."""
    key = maker.out_key
    if type(group_by) is not int or group_by < 0:
        raise InvalidArgument(f"group_by is a number of parts of the key, not {shown(group_by, 40)}")
    if group_by:
        key = key_prefix(key, group_by, f"map {maker.where}")[1]
    return replace(maker, out_key=key, out_value=_travelling(maker, combine_fold))


def _combine_signature(combine: Callable[..., Pairs] | Fold | None, maker: Signature) -> Signature | None:
    if combine is None or isinstance(combine, Fold):
        return None
    return _grouped(read_signature(combine, "combine"), maker, "combine")


def _reduce_signature(
    reduce: Callable[..., Pairs] | Fold | None, fold: BoundFold | None, maker: Signature
) -> Signature | None:
    if fold is not None or isinstance(reduce, Fold):
        assert fold is not None
        values: Hint = GenericAlias(Iterable, (maker.out_value,))
        return Signature(repr(fold.fold), maker.out_key, values, maker.out_key, fold.gives, False)
    if isinstance(reduce, ExternalCommand):
        return reduce.signature()
    return None if reduce is None else _grouped(read_signature(reduce, "reduce"), maker, "reduce")


def _grouped(taker: Signature, maker: Signature, role: str) -> Signature:
    """Check that the keys and values of map fit the parameters of combine or reduce."""
    element = element_of(taker.second, role, taker.where)
    for what, given, wanted in (("key", maker.out_key, taker.first), ("value", maker.out_value, element)):
        if not fits(given, wanted):
            raise InvalidArgument(
                f"map {maker.where} gives a {what} of type {name_of(given)}, "
                f"{role} {taker.where} takes {name_of(wanted)}"
            )
    return taker


def _check_combine(definition: JobDefinition) -> None:
    """Check that the codecs exist, and that combine yields the same types as map."""
    assert definition.order == "input" or definition.key_codec
    assert definition.value_codec
    combine, maker = definition.combine_signature, definition.map_signature
    if combine is None:
        return
    pairs = (("key", combine.out_key, maker.out_key), ("value", combine.out_value, maker.out_value))
    for what, given, wanted in pairs:
        if not fits(given, wanted):
            raise InvalidArgument(
                f"combine {combine.where} gives a {what} of type {name_of(given)}, but it stands for what "
                f"map {maker.where} gives: {name_of(wanted)}"
            )


def _check_order(definition: JobDefinition) -> None:
    """Raises InvalidArgument for an order that is unknown, or that other parts of the job contradict."""
    order = definition.order
    one_of("order", order, get_args(Order))
    parts = {
        "combine": definition.combine or definition.combine_fold,
        "reduce": definition.reduce or definition.reduce_fold,
        "partition": definition.partition,
        "group_by": definition.group_by or None,
    }
    forbidden = {
        "key": (),
        "total": ("partition",),
        "input": ("combine", "reduce", "partition", "group_by"),
    }[order]
    for name in forbidden:
        if parts[name] is not None:
            why = f"order={order!r}" if definition.reducers else "reducers=0"
            raise InvalidArgument(f"{why} leaves no place for {name}")
    if not definition.reducers and order != "input":
        raise InvalidArgument(f"reducers=0 keeps the order of the input; order={order!r} sorts")
    if order == "total" and definition.branches:
        raise InvalidArgument("order='total' samples one input, and a job with sources has several")
    if order == "total" and definition.input.format in ("csv", "file", "kv", "parquet", "arrow", "records"):
        raise InvalidArgument(
            "order='total' samples the input in places, which format "
            f"{definition.input.format!r} does not allow",
            hint="use lines, bytes, raw or jsonl, or reducers=1",
        )
    if definition.group_by and parts["reduce"] is None:
        raise InvalidArgument("group_by makes groups for reduce, and there is none")
    if definition.partition is not None:
        check_partition(
            definition.partition, _as_grouped(definition.map_signature, None, definition.group_by)
        )


def _check_output_kind(output: object) -> None:
    if not isinstance(output, Output):
        raise InvalidArgument(
            f"output must be a FileOutput, KvOutput or CollectOutput, not {shown(output, 100)}",
            hint='for example output=FileOutput("jsonl"); a submission names the folder',
        )


def _check_output(definition: JobDefinition) -> None:
    last = definition.reduce_signature or definition.map_signature
    if isinstance(definition.output, KvOutput):
        check_kv_output(last)
    _ = definition.types  # raises for records of a type that has no codec
    if definition.output.format == "bytes" and last.out_value not in (bytes, str):
        raise InvalidArgument(
            f"output format 'bytes' writes values as they are; {last.where} gives {name_of(last.out_value)}",
            hint="give bytes or str, or choose tsv or jsonl",
        )
    line = last.out_key if unwrapped(last.out_value) in (None, NoneType) else last.out_value
    if definition.output.format == "lines" and line not in (bytes, str):
        raise InvalidArgument(
            f"output format 'lines' writes values as lines, or keys without values; {last.where} gives "
            f"{name_of(line)}",
            hint="give bytes or str, or choose tsv or jsonl",
        )
