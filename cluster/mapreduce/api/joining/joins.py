"""Declares a join of two inputs: `join(left, right)` is a job like those that `job()` declares.

Pure.  Rows of both sides meet in reduce, unsorted (kernel/hashed/hash_join.py) or sorted by key and side
(join_steps.py); or every map task of one side has all rows of the other, if these are few; or both sides are
keyspaces, and a map task has the same partitions of both.

See: docs/guide.md, "Joins"; docs/formats/job.md, "Joins".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import GenericAlias
from typing import Any, Final, Optional, get_args

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.batches import check_columns
from ringmill.cluster.mapreduce.api.branches import branch_of, columns_of
from ringmill.cluster.mapreduce.api.commands import ExternalCommand
from ringmill.cluster.mapreduce.api.definition_checks import check_definition
from ringmill.cluster.mapreduce.api.formats import FileInput, FileOutput, one_of
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.job_keyspaces import KvInput, Output
from ringmill.cluster.mapreduce.api.joining.join_steps import (
    LEFT,
    RIGHT,
    ColumnRows,
    How,
    Joining,
    KeyRows,
    Merging,
    SideRows,
    Strategy,
    TaggedRows,
    TagRows,
)
from ringmill.cluster.mapreduce.api.sources import Branch, Source, check_sources
from ringmill.cluster.mapreduce.codecs.codecs import key_codec
from ringmill.cluster.mapreduce.codecs.signatures import (
    Gives,
    Hint,
    Signature,
    name_of,
    read_result_signature,
    unwrapped,
)
from ringmill.cluster.mapreduce.files.input_plan import ANY_SIZE

__all__ = ["BROADCAST_BYTES", "Strategy", "join"]

_OF_KEYS: Final[dict[str, KeyRows | TagRows]] = {"key": KeyRows(), "{tag}": TagRows()}
"""What a keyspace without a map may be joined on."""
BROADCAST_BYTES: Final = 10 << 20  # of the smaller side, up to which "auto" gives it to every map task


def join(
    left: Source,
    right: Source,
    *,
    on: str | tuple[str, str] | None = None,
    how: How = "inner",
    result: Callable[..., Iterable[tuple[Any, Any]]] | None = None,
    strategy: Strategy = "auto",
    output: Output | None = None,
    reducers: int = 4,
    params: Mapping[str, str] | None = None,
    task_memory_mib: int = 0,
    split_mib: int = 0,
) -> JobDefinition:
    """Declare a job that joins two sources by key, at the top level of a module.

    The map of each source gives (key, row) pairs.  With `on`, a column, or one of the left and one of the
    right, both are csv with a header and need no map: the key is that column, the row a dict.  Of a keyspace
    "key" is the whole key, "{tag}" its hash tag, and the row its value, all as text.  A key of None equals
    another.  `how` says whose rows are written without a partner: "inner" nobody's, "left", "right", "outer"
    those of both; what is missing is None.  `result(key, left, right)` yields the pairs that are written, and
    may take `ctx`; without it they are (key, (left, right)).

    "hash" sends rows to the parts by key and sorts nothing: in each part the side with fewer rows is held in
    a dict, and the other streams past it, whose order the part keeps; held rows without a partner come last.
    It takes any number of rows a key, in bounded memory.  "merge" sorts both sides by key; of one key it
    keeps the right rows in memory, so let the right source be the one with fewer rows a key.  The output is
    sorted by key in each part, left rows of a key in the order of their input, each with its right rows in
    the order of theirs.  "broadcast" gives all rows of one side to every map task of the other, whose order
    the output keeps; nothing is sorted or shuffled.  The side is the smaller one where both may be ("inner"),
    else the one that need not be kept; "outer" has none.
    "copartitioned" joins two keyspaces partition by partition, where their nodes are, and sends nothing: a
    map task reads the same partitions of both and writes a part.  Equal keys lie in one partition by their
    hash tag alone, so the key of the join is the tag of the record's key, or has the same one; another key
    fails the job.

    "auto" is "copartitioned" for two keyspaces on="{tag}", "broadcast" where the side that may go to all has
    at most 10 MiB, as the files are when the job is planned, and else "hash".

    Raises InvalidArgument like `job()`.
    """
    one_of("how", how, get_args(How))
    _check_strategy(strategy, how)
    check_sources([left, right])
    columns = _columns(on)
    branches = _suited([_joinable(left, columns[LEFT]), _joinable(right, columns[RIGHT])], strategy, how)
    written = _written(result, branches, how)
    joining = Joining(how, branches[LEFT], branches[RIGHT], result, written, strategy)
    tagged = _tagged(branches)
    return check_definition(
        JobDefinition(
            map=tagged[LEFT].map,
            combine=None,
            reduce=Merging(joining),
            input=tagged[LEFT].input,
            output=FileOutput() if output is None else output,
            reducers=reducers,
            params=dict(params or {}),
            map_signature=tagged[LEFT].signature,
            combine_signature=None,
            reduce_signature=replace(joining.result_signature, wants_context=True),
            task_memory_mib=task_memory_mib,
            is_batch=tagged[LEFT].is_batch,
            split_mib=split_mib,
            branches=tagged,
            group_by=1,
            joining=joining,
            broadcast_bytes={"auto": BROADCAST_BYTES, "broadcast": ANY_SIZE}.get(strategy, 0),
        )
    )


def _columns(on: object) -> tuple[str, str] | tuple[None, None]:
    match on:
        case None:
            return None, None
        case str(column):
            return column, column
        case (str(left), str(right)):
            return left, right
        case _:
            raise InvalidArgument(
                f"on is the name of a column, or (left column, right column), not {on!r:.80}"
            )


def _check_strategy(strategy: str, how: str) -> None:
    one_of("strategy", strategy, get_args(Strategy))
    if (strategy, how) == ("broadcast", "outer"):
        raise InvalidArgument(
            "no task of a broadcast join knows which rows have no partner anywhere, which how='outer' needs",
            hint="use strategy='hash' or 'merge'",
        )


def _suited(branches: list[Branch], strategy: Strategy, how: How) -> list[Branch]:
    """The sources as the strategy maps them.

    Raises InvalidArgument for what nothing can join, or this strategy cannot.
    """
    left, right = branches
    key = left.signature.out_key
    if unwrapped(key) != unwrapped(right.signature.out_key):
        raise InvalidArgument(
            f"{left.name} gives a key of type {name_of(key)}, {right.name} one of type "
            f"{name_of(right.signature.out_key)}; only keys of one type are equal"
        )
    assert key_codec(key, left.signature.where)
    if strategy == "broadcast":
        kept = {"left": LEFT, "right": RIGHT}.get(how)
        if all(isinstance(each.input, KvInput) for side, each in enumerate(branches) if side != kept):
            raise InvalidArgument(
                "strategy='broadcast' gives files to every map task, and the side that may go there is a "
                "keyspace",
                hint="use strategy='hash' or 'merge'",
            )
    return [_tag_checked(each) for each in branches] if strategy == "copartitioned" else branches


def _tag_checked(branch: Branch) -> Branch:
    """A source of a co-partitioned join, each of whose keys is looked at.  Raises InvalidArgument."""
    if not isinstance(branch.input, KvInput):
        raise InvalidArgument(
            f"strategy='copartitioned' joins two keyspaces of the cluster, and source {branch.name} reads "
            f"files as {branch.input.format!r}",
            hint="use strategy='hash', or 'auto'",
        )
    if unwrapped(branch.signature.out_key) not in (str, bytes):
        raise InvalidArgument(
            "strategy='copartitioned' finds rows by the hash tags of keys, which are str or bytes; "
            f"{branch.signature.where} gives a key of type {name_of(branch.signature.out_key)}",
            hint="use strategy='hash', or 'auto'",
        )
    if isinstance(branch.map, TagRows):
        return branch
    return replace(branch, map=TaggedRows(branch.map, branch.signature.where))


def _of_keyspace(source: Source, column: str) -> Branch:
    """A keyspace that is joined by its keys, or by their hash tags."""
    assert isinstance(source.input, KvInput)
    if column not in _OF_KEYS:
        raise InvalidArgument(
            f"source {source.name} is a keyspace, which is joined on {' or '.join(map(repr, _OF_KEYS))}, not "
            f"on {column!r}",
            hint="or give it a map that gives (key, row), and leave on= out",
        )
    signature = Signature(f"source {source.name}", str, str, str, str, wants_context=False)
    return Branch(source.name, _OF_KEYS[column], signature, source.input, is_batch=False)


def _joinable(source: Source, column: str | None) -> Branch:
    """The source with a map that gives (key, row)."""
    if column is None:
        if source.map is None and source.map_batch is None:
            raise InvalidArgument(
                f"source {source.name} has no map, and the join no on=",
                hint='on="COLUMN" joins rows of csv, on="key" or "{tag}" keyspaces; for others give the '
                "source a map that gives (key, row)",
            )
        if isinstance(source.map, ExternalCommand):
            raise InvalidArgument(
                f"source {source.name}: {source.map.title} takes the lines of a whole task, and a join has "
                "rows one by one",
                hint="let the command be the map of a job, whose output the join reads",
            )
        return branch_of(source)
    if source.map is not None or source.map_batch is not None:
        raise InvalidArgument(f"source {source.name} has a map, which gives the key; on= is for rows without")
    if isinstance(source.input, KvInput):
        return _of_keyspace(source, column)
    input = source.input or FileInput("csv")
    if input.format != "csv":
        raise InvalidArgument(
            f"source {source.name}: rows of csv have columns by name, rows of {input.format} have not",
            hint="give the source a map that gives (key, row)",
        )
    row: Hint = GenericAlias(dict, (str, str))
    signature = Signature(f"source {source.name}", int, row, str, row, wants_context=False)
    check_columns(signature, columns_of(input))
    return Branch(source.name, ColumnRows(column), signature, input, is_batch=False)


def _tagged(branches: list[Branch]) -> tuple[Branch, ...]:
    """The sources as they are mapped: their side in the key, and rows of one type for both."""
    key: Hint = GenericAlias(tuple, (branches[LEFT].signature.out_key, int))
    rows = [Optional[branch.signature.out_value] for branch in branches]  # noqa: UP045 - types, not text
    row: Hint = GenericAlias(tuple, (int, *rows))
    return tuple(
        replace(
            branch,
            map=SideRows(branch, side),
            signature=replace(branch.signature, out_key=key, out_value=row, gives=Gives.PAIRS),
        )
        for side, branch in enumerate(branches)
    )


def _written(
    result: Callable[..., Iterable[tuple[Any, Any]]] | None, branches: list[Branch], how: How
) -> Signature:
    """The types of what is written.  Raises InvalidArgument for a result that does not take the rows."""
    key = branches[LEFT].signature.out_key
    left, right = (branch.signature.out_value for branch in branches)
    left = Optional[left] if how in ("right", "outer") else left  # noqa: UP045
    right = Optional[right] if how in ("left", "outer") else right  # noqa: UP045
    if result is not None:
        return read_result_signature(result, key, left, right)
    pair: Hint = GenericAlias(tuple, (left, right))
    return Signature("join()", key, pair, key, pair, wants_context=False)
