"""What parts of a job contradict each other, and which numbers are out of range.

Pure.  Each check raises InvalidArgument, which names the part.
"""

from __future__ import annotations

from types import NoneType
from typing import get_args

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import MAX_REDUCERS, MAX_SPLIT_MIB, TASK_MEMORY_MIB
from ringmill.cluster.mapreduce.api.bad_records import bad_records_of
from ringmill.cluster.mapreduce.api.commands import check_commands
from ringmill.cluster.mapreduce.api.formats import one_of
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition, Order, as_grouped
from ringmill.cluster.mapreduce.api.job_keyspaces import KvOutput, Output, check_kv_output
from ringmill.cluster.mapreduce.api.sources import check_names
from ringmill.cluster.mapreduce.codecs.signatures import check_partition, fits, name_of, unwrapped
from ringmill.cluster.mapreduce.failures import shown
from ringmill.cluster.mapreduce.files.input_plan import ANY_SIZE

__all__ = ["check_definition", "check_quarantine", "check_split_mib", "check_task_memory"]


def check_definition(definition: JobDefinition) -> JobDefinition:
    """Raises InvalidArgument when its parts contradict each other, or a number is out of range."""
    _check_output_kind(definition.output)
    _check_numbers(definition.reducers, definition.task_memory_mib, definition.split_mib)
    if type(definition.network) is not bool:
        raise InvalidArgument(f"network is True or False, not {shown(definition.network, 40)}")
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
    if bad_records and definition.join_by(sets_aside=True) == "copartitioned":
        raise InvalidArgument(
            "on_bad_record='quarantine:N' with strategy='copartitioned': no task gathers the records that "
            "are set aside",
            hint="let the join have strategy='hash', or 'auto'",
        )
    if bad_records and definition.broadcast_bytes == ANY_SIZE:
        raise InvalidArgument(
            "on_bad_record='quarantine:N' sets a record aside once, and strategy='broadcast' reads those of "
            "one side in every task",
            hint="let the join have strategy='auto' or 'merge'",
        )


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
        "update": definition.update,
        "partition": definition.partition,
        "group_by": definition.group_by or None,
    }
    forbidden = {
        "key": (),
        "total": ("partition",),
        "input": ("combine", "reduce", "update", "partition", "group_by"),
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
        check_partition(definition.partition, as_grouped(definition.map_signature, None, definition.group_by))


def _check_output_kind(output: object) -> None:
    if not isinstance(output, Output):
        raise InvalidArgument(
            f"output must be a FileOutput, KvOutput or CollectOutput, not {shown(output, 100)}",
            hint='for example output=FileOutput("jsonl"); a submission names the folder',
        )


def _check_output(definition: JobDefinition) -> None:
    last = definition.last_signature
    if isinstance(definition.output, KvOutput):
        check_kv_output(last)
    _ = definition.record_form  # raises for records of a type that has no codec
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
