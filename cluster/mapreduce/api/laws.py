"""Tests on a sample whether a job keeps the laws that splitting, combining and retrying rely on.

Pure.  Map must give the same pairs for a record every time.  Combine must give the same result whether it is
called on any part of a key's values, again on its own results, or not at all.  Reduce must be deterministic.
What they have given, they must not change: it is written later, when a buffer is full.  A sample can show
that a law is broken, never that it holds.
"""

from __future__ import annotations

import copy
import importlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.batches import pairs_of
from ringmill.cluster.mapreduce.api.folds import BoundFold
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.chance import TaskRandom
from ringmill.cluster.mapreduce.codecs.arrow_hints import arrow_name
from ringmill.cluster.mapreduce.codecs.record_forms import form_of
from ringmill.cluster.mapreduce.context import Context

__all__ = ["broken_laws"]

Runs: TypeAlias = list[tuple[Any, list[Any]]]
"""Of a group each key with its values; it has several keys where `group_by` says so."""

MAX_KEYS: Final = 1000
MAX_FINDINGS: Final = 10


def broken_laws(
    job: JobDefinition,
    sample: Iterable[Any] | Mapping[str, Iterable[Any]],
    params: Mapping[str, str] | None = None,
    *,
    side: Mapping[str, str] | None = None,
) -> list[str]:
    """The broken laws, one line each, at most ten; empty when the sample shows none.

    `sample` holds some values for map; for a job that reads a keyspace or records, pairs of key and value,
    and for one with update, pairs of key and state; of a job with sources, those of each by their names.
    `side` are absolute paths of side data, by name, in place of those that the job declares.  Raises what the
    job's functions raise, and InvalidArgument for a sample without sources, or with others, and for a
    pipeline.
    """
    if not isinstance(job, JobDefinition):
        raise InvalidArgument(
            f"broken_laws checks one job, not a {type(job).__name__}",
            hint="give it each job of a pipeline, with a sample of what its map takes",
        )
    findings: list[str] = []
    try:
        findings.extend(
            islice(_findings(job, sample, _Given(params or {}, {**job.side, **(side or {})})), MAX_FINDINGS)
        )
    except _Changed as changed:
        findings.append(str(changed))
    return findings


class _Given(NamedTuple):
    """What a submission would give the functions."""

    params: Mapping[str, str]
    side: Mapping[str, str]


class _Changed(Exception):
    """A function has changed what it had given."""


def _findings(
    job: JobDefinition, sample: Iterable[Any] | Mapping[str, Iterable[Any]], given: _Given
) -> Iterator[str]:
    groups: dict[Any, list[Any]] = {}
    if job.update is not None:
        pairs: Any = list(sample)  # it is looked at twice
        sample, job = pairs, _reducing(job, dict(pairs))
        groups = {key: [] for key, _ in pairs}  # update is called for a key without messages, too
    for branch, some in _samples(job, sample):
        records = _records(branch, some)
        yield from _map_findings(branch, records, given)
        own: dict[Any, list[Any]] = {}
        for record in records:
            for key, value in _mapped(branch, [record], given):
                own.setdefault(key, []).append(value)
        if branch.is_batch:
            yield from _batch_findings(branch, records, own, given)
        for key, values in own.items():
            groups.setdefault(key, []).extend(values)
    for key, runs in islice(_grouped(job, groups).items(), MAX_KEYS):
        yield from _group_findings(job, key, runs, given)


def _reducing(job: JobDefinition, states: Mapping[Any, Any]) -> JobDefinition:
    """A job with update as one that reduces messages to keys with these states.  Each call gets a state of
    its own, as each attempt does, so that update may change it and return it."""
    update, fold = job.update, job.combine_fold
    assert update is not None

    def reduce(key: Any, values: Iterable[Any], **ctx: Context) -> Iterator[tuple[Any, Any]]:
        if fold is not None and fold.is_one_value and (sent := list(values)):
            values = iter((fold.finish(sent),))
        yield key, update(key, copy.deepcopy(states.get(key)), values, **ctx)

    return replace(job, reduce=reduce)


def _last_function(job: JobDefinition) -> str:
    return "reduce" if job.update is None else "update"


def _as_given(role: str, pairs: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """The pairs that a function gives.  Raises _Changed when it changes one afterwards."""
    given = [(pair, copy.deepcopy(pair)) for pair in pairs]
    for now, then in given:
        if not _is_same(now, then):
            raise _Changed(
                f"{role} gave {then!r:.100} and changed it to {now!r:.100} afterwards: what is written "
                "depends on where a buffer ends; give a copy"
            )
    return [now for now, _ in given]


def _is_same(one: Any, other: Any) -> bool:
    """Whether two results are equal, where a NaN counts as itself."""
    return bool(one == other) or ("nan" in repr(one) and repr(one) == repr(other))


def _samples(job: JobDefinition, sample: Any) -> list[tuple[JobDefinition, Iterable[Any]]]:
    """The job as it maps each source, and values for it."""
    names = job.source_names
    if not names:
        return [(job, sample)]
    if not isinstance(sample, Mapping) or set(sample) != set(names):
        raise InvalidArgument(
            f"the sample of this job is a mapping of {', '.join(names)} to some values each"
        )
    return [(job.of_source(number), sample[name]) for number, name in enumerate(names)]


def _grouped(job: JobDefinition, values: Mapping[Any, list[Any]]) -> dict[Any, Runs]:
    """The groups as reduce gets them."""
    if job.group_prefix is None:
        return {key: [(key, values[key])] for key in values}
    groups: dict[Any, Runs] = {}
    for key in sorted(values, key=job.key_codec.encode):
        groups.setdefault(job.group_prefix.of(key), []).append((key, values[key]))
    return groups


def _records(job: JobDefinition, sample: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Keys as the input's format would give them: a file's name, or where the record would begin."""
    if job.input.format == "file":
        return [(f"sample-{number}", value) for number, value in enumerate(sample)]
    if job.input.format in ("kv", "records"):
        return [(key, value) for key, value in sample]
    records, offset = [], 0
    for value in sample:
        records.append((offset, value))
        offset += len(value) + 1 if isinstance(value, str | bytes) else 1
    return records


def _map_findings(job: JobDefinition, records: Sequence[tuple[Any, Any]], given: _Given) -> Iterator[str]:
    forwards = [_mapped(job, [record], given) for record in records]
    backwards = [_mapped(job, [record], given) for record in reversed(records)]
    for record, first, second in zip(records, forwards, reversed(backwards), strict=True):
        if not _is_same(first, second):
            yield (
                f"map gave {first!r:.100} and then {second!r:.100} for the same record {record[1]!r:.100}: "
                "a second attempt or another split would change the result"
            )


def _batch_findings(
    job: JobDefinition,
    records: Sequence[tuple[Any, Any]],
    singly: Mapping[Any, list[Any]],
    given: _Given,
) -> Iterator[str]:
    """What differs between all records in one batch and each in a batch of its own."""
    together: dict[Any, list[Any]] = {}
    for key, value in _mapped(job, records, given):
        together.setdefault(key, []).append(value)
    one_by_one, at_once = _grouped(job, singly), _grouped(job, together)
    for key in list({**one_by_one, **at_once})[:MAX_KEYS]:
        alone, whole = (_outcome(job, key, groups.get(key, []), given) for groups in (one_by_one, at_once))
        if not _is_same(alone, whole):
            yield (
                f"key {key!r:.100}: {alone!r:.100} when each line is a batch, {whole!r:.100} when all are "
                "one: map_batch's results depend on where batches end"
            )


def _outcome(job: JobDefinition, group: Any, runs: Runs, given: _Given) -> list[Any]:
    if job.combine_fold is not None and _values(runs):  # it keeps the laws; reduce gets what it leaves
        runs = [(key, _folded(job.combine_fold, values)) for key, values in runs]
    return _reduced(job, group, _values(runs), given) if runs else []


def _mapped(job: JobDefinition, records: Sequence[tuple[Any, Any]], given: _Given) -> list[tuple[Any, Any]]:
    """The pairs of some records: of one, or of a batch."""
    function = _call(job, "map", given)
    if not job.is_batch:
        return _as_given("map", (pair for record in records for pair in function(*record)))
    signature = job.map_signature
    batch: Any = _batch_of([value for _, value in records], job.input.format, signature.second)
    result = function(records[0][0], batch) if signature.first is not None else function(batch)
    return _as_given("map_batch", pairs_of(result, signature.gives, signature.where))


def _batch_of(values: list[Any], format: str, hint: Any) -> Any:
    """The sample's values as map_batch takes them; those of a RecordBatch are its rows, as dicts."""
    if form_of(format, hint, is_batch=True) is bytes:
        return b"".join(value + b"\n" for value in values)
    if kind := arrow_name(hint):
        pyarrow = importlib.import_module("pyarrow")
        return pyarrow.RecordBatch.from_pylist(values) if kind == "RecordBatch" else pyarrow.array(values)
    return values


def _group_findings(job: JobDefinition, group: Any, runs: Runs, given: _Given) -> Iterator[str]:
    plain = _outcome(job, group, runs, given)
    if not _is_same(_outcome(job, group, runs, given), plain):
        role = _last_function(job)
        yield f"{role} gave two results for the same values of key {group!r:.100}"
        return
    most = max(len(values) for _, values in runs)
    if job.combine is None or most < 2:
        return
    for cut in sorted({1, most // 2, most - 1, most}):
        shortened = [
            (key, [*_combined(job, key, values[:cut], given), *_combined(job, key, values[cut:], given)])
            for key, values in runs
        ]
        again = [(key, _combined(job, key, values, given)) for key, values in shortened]
        for stretch in (shortened, again):
            if not _is_same(combined := _reduced(job, group, _values(stretch), given), plain):
                yield (
                    f"key {group!r:.100}: {plain!r:.100} without combine, {combined!r:.100} when called on "
                    f"the first {cut} of {most} values: its results depend on how often it runs"
                )
                return


def _values(runs: Runs) -> list[Any]:
    return [value for _, values in runs for value in values]


def _folded(fold: BoundFold, values: list[Any]) -> list[Any]:
    """What a fold leaves of one key's values."""
    if fold.add is None:
        return fold.shorten(values)
    totals: defaultdict[None, Any] = defaultdict(int)
    fold.add(totals, ((None, value) for value in values))
    return list(totals.values())


def _combined(job: JobDefinition, key: Any, values: list[Any], given: _Given) -> list[Any]:
    if len(values) < 2:
        return values
    return [value for _, value in _as_given("combine", _call(job, "combine", given)(key, iter(values)))]


def _reduced(job: JobDefinition, key: Any, values: list[Any], given: _Given) -> list[Any]:
    if not values and job.update is None:  # a key without values is gone, and nothing reduces it
        return []
    if job.reduce_fold is not None:
        return [job.reduce_fold.finish(values)]
    if job.reduce is None:
        return values
    return _as_given(_last_function(job), _call(job, "reduce", given)(key, iter(values)))


def _call(job: JobDefinition, role: str, given: _Given) -> Any:
    """The job's function of that role, with a fresh context if it wants one: random numbers repeat."""
    function, signature = getattr(job, role), getattr(job, f"{role}_signature")
    if not signature.wants_context:
        return function
    context = Context(
        f"{role}-0", TaskRandom(f"0/{role}-0"), {**job.params, **given.params}, side_paths=given.side
    )
    return partial(function, ctx=context)
