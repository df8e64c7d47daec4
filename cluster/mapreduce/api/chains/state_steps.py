"""Steps of an iteration whose state stays where it is: `update(key, state, values)` in place of reduce.

Pure.  Map gets a key and its state and gives messages; update gets a key, its state and the messages to it,
and returns the new state.  So a state never leaves its key, and its part of the output is that of the round
before: no state is sent.

See: docs/guide.md, "Pipelines and iterations".  Rule J30: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.folds import BoundFold, Fold, travelling
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.sources import Branch
from ringmill.cluster.mapreduce.codecs.signatures import (
    Hint,
    Signature,
    element_of,
    fits,
    name_of,
    read_update_signature,
    unwrapped,
)
from ringmill.cluster.mapreduce.codecs.typed_records import record_type, same_type

__all__ = ["check_beside_update", "is_spread_for", "message_fold", "refuse_alone", "update_signature"]


def message_fold(combine: object, maker: Signature) -> BoundFold | None:
    """The fold of the messages to a key; None where there is none.

    Update gets what it makes of them, so that one whose steps leave several values, as sums of float do, is
    taken, too.  Raises InvalidArgument.
    """
    return combine.bind(maker.out_value, maker.where) if isinstance(combine, Fold) else None


def update_signature(update: Callable[..., Any], maker: Signature, fold: BoundFold | None) -> Signature:
    """That of an update after a map.  Raises InvalidArgument for types that do not fit together."""
    taker, state = read_update_signature(update)
    element = element_of(taker.second, "update", taker.where)
    for what, given, wanted in (
        ("key", maker.out_key, taker.first),
        ("value", travelling(maker, fold), element),
    ):
        if not fits(given, wanted):
            raise InvalidArgument(
                f"map {maker.where} gives a {what} of type {name_of(given)}, "
                f"update {taker.where} takes {name_of(wanted)}"
            )
    if unwrapped(maker.second) in (None, NoneType):
        raise InvalidArgument(f"map {maker.where} takes a state of type None, which stands for no state")
    for what, given, wanted in (
        (f"update {taker.where} returns a state", taker.out_value, maker.second),
        (f"update {taker.where} takes a state", state, maker.second),
        (f"map {maker.where} gives messages to a key", maker.out_key, maker.first),
    ):
        _refuse_other(what, given, wanted, maker)
    return Signature(taker.where, maker.first, taker.second, maker.first, maker.second, taker.wants_context)


def _refuse_other(what: str, given: Hint, wanted: Hint, maker: Signature) -> None:
    if not same_type(given, wanted) or not same_type(wanted, given):
        raise InvalidArgument(
            f"{what} of type {record_type(given)}, and map {maker.where} takes {record_type(wanted)}",
            hint="keys and states have one type each, in map and in update",
        )


def check_beside_update(reduce: object, branches: Sequence[Branch], *, group_by: object, order: str) -> None:
    """Raises InvalidArgument for what has no place in a job with update."""
    first = branches[0]
    wrong = {
        "reduce": reduce is not None,
        "sources": first.name != "",
        "map_batch": first.is_batch,
        "group_by": group_by != 0,
        f"order={order!r}": order != "key",
    }
    if named := [name for name, is_there in wrong.items() if is_there]:
        raise InvalidArgument(
            f"update stands in place of reduce, behind map of one input; it leaves no place for {named[0]}"
        )
    if first.input.format != "records":
        raise InvalidArgument(
            f"map {first.signature.where} reads {first.input.format!r}; beside update it reads keys with "
            "their states",
            hint='declare job(map=..., update=..., input=FileInput("records"))',
        )


def refuse_alone(definition: JobDefinition) -> None:
    """Raises InvalidArgument for a job with update that is no step of an iteration."""
    if definition.update is not None:
        raise InvalidArgument(
            f"{definition.map_signature.where}: a job with update is a step of an iteration, and runs in no "
            "other way",
            hint="pipeline(iterate(step, max=1)) is one round of it",
        )


def is_spread_for(before: JobDefinition, step: JobDefinition) -> bool:
    """Whether a job is sure to leave each key in the part, and at the place, where the states of the step
    have it: it gives the keys of its groups, sorted, in as many parts by the same rule."""
    gives_its_keys = (
        before.update is not None
        or before.reduce_fold is not None
        or (before.reduce is None and before.combine is None)
    )
    return (
        gives_its_keys
        and not before.keys_alone
        and before.joining is None
        and before.order == "key"
        and not before.group_by
        and before.reducers == step.reducers
        and before.partition is step.partition
        and same_type(before.gives[0], step.map_signature.first)
        and same_type(before.map_signature.out_key, before.gives[0])
    )
