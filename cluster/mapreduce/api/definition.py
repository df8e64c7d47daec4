"""The definition of a job: functions of an ordinary module, the input format and the output format.

Pure.  `job()` refuses every error that can be found without looking at the data, before anything is sent.  A
job is identified by module and name; it is never pickled.

See: docs/formats/job.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import GenericAlias
from typing import Any

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.branches import branches_of
from ringmill.cluster.mapreduce.api.chains.state_steps import (
    check_beside_update,
    message_fold,
    update_signature,
)
from ringmill.cluster.mapreduce.api.commands import ExternalCommand, command_files
from ringmill.cluster.mapreduce.api.definition_checks import check_definition
from ringmill.cluster.mapreduce.api.folds import BoundFold, Fold, bound_folds
from ringmill.cluster.mapreduce.api.formats import FileInput, FileOutput
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition, Order, Pairs, as_grouped
from ringmill.cluster.mapreduce.api.job_keyspaces import KvInput, Output
from ringmill.cluster.mapreduce.api.sources import Branch, Source
from ringmill.cluster.mapreduce.codecs.signatures import (
    Hint,
    Signature,
    element_of,
    fits,
    name_of,
    read_signature,
)

__all__ = ["job"]


def job(
    *,
    map: Callable[..., Pairs] | None = None,
    map_batch: Callable[..., Any] | None = None,
    combine: Callable[..., Pairs] | Fold | None = None,
    reduce: Callable[..., Pairs] | Fold | None = None,
    update: Callable[..., Any] | None = None,
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
    network: bool = False,
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

    `update(key, state, values)` stands in place of reduce in a step of `iterate()`, whose map takes a key and
    its state.  It is called for each key that has a state, or that map has given values; `state` is None
    where there is none yet.  It returns the new state, None for none.  Behind combine=Sum(), Count(), Min()
    or Max() `values` has one value or none.

    `order` is the order of the output.  "key": by key within each part; which part a key goes to follows from
    its hash, or from `partition(key, parts)`, which gives a number from 0 to parts - 1.  "total": by key over
    all parts, in ranges that a sample of the input shows.  "input": the pairs of map as they come, in the
    order of the input; there is no combine and no reduce, and nothing is sorted.  With `reducers=0` that is
    the order, nothing is sent from node to node, and each map task writes a part file.
    `group_by=n` makes one group of all keys that are equal in their first n parts, where keys are tuples or
    frozen dataclasses of more parts.  Its values come in the order of the whole key; reduce and partition get
    the first part, or the tuple of the first n.  combine gets the whole key.

    `side` names files that every task may read, as `ctx.side(name)` tells their paths; "" stands for a path
    that each submission gives.  `params` are str parameters with their defaults, which each submission may
    change; functions read them as `ctx.params`.  With `network`, tasks may open connections.

    `task_memory_mib` limits the memory of a task process and all that it starts; 0 means the limit of the
    nodes.  `split_mib` is the size aimed at for the input of a map task, in MiB; 0: it follows from the whole
    input.  `on_bad_record` is "fail", or "quarantine:N": then up to N records at which map or the parser of a
    format raises an error are set aside in the file _BAD_RECORDS.

    Raises InvalidArgument for functions that no task process could import, and for hints or numbers amiss.
    """
    return _defined(
        branches_of(sources, Source("", map, map_batch, input)), combine, reduce, update,
        FileOutput() if output is None else output,
        reducers=reducers, params=dict(params or {}), task_memory_mib=task_memory_mib, split_mib=split_mib,
        order="input" if reducers == 0 and order == "key" else order, partition=partition, group_by=group_by,
        side={**command_files(map, *(each.map for each in sources), reduce), **(side or {})},
        on_bad_record=on_bad_record, network=network,
    )  # fmt: skip


def _defined(
    branches: Sequence[Branch],
    combine: Callable[..., Pairs] | Fold | None,
    reduce: Callable[..., Pairs] | Fold | None,
    update: Callable[..., Any] | None,
    output: Output,
    *,
    group_by: int,
    **settings: Any,
) -> JobDefinition:
    """Put a job together; `settings` are fields of JobDefinition.  Raises InvalidArgument."""
    first = branches[0]
    signature = first.signature
    if update is None:
        combine_fold, reduce_fold = bound_folds(combine, reduce, signature)
    else:
        check_beside_update(reduce, branches, group_by=group_by, order=settings["order"])
        combine_fold, reduce_fold = message_fold(combine, signature), None
    sent = as_grouped(signature, combine_fold, group_by)
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
        reduce_signature=(
            _reduce_signature(reduce, reduce_fold, sent)
            if update is None
            else update_signature(update, signature, combine_fold)
        ),
        combine_fold=combine_fold,
        reduce_fold=reduce_fold,
        group_by=group_by,
        update=update,
        **settings,
    )
    return check_definition(definition)


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
