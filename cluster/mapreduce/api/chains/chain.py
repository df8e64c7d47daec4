"""Chains of jobs: `pipeline(a, b)` feeds the output of a job to the next, `iterate(step)` to itself.

Pure.  A chain is submitted as one job.  Between two stages records keep their types: what one gives is what
the next one's map takes, which is checked here.

See: docs/guide.md, "Pipelines and iterations".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from types import FunctionType
from typing import Any, Final, TypeAlias

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import MOST_ROUNDS
from ringmill.cluster.mapreduce.api.chains.round_result import Until
from ringmill.cluster.mapreduce.api.chains.stages import FED_FORMAT, FIRST_INPUT
from ringmill.cluster.mapreduce.api.chains.state_steps import is_spread_for, refuse_alone
from ringmill.cluster.mapreduce.api.definition_checks import check_definition
from ringmill.cluster.mapreduce.api.formats import FileInput, FileOutput
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.job_keyspaces import KvInput, KvOutput
from ringmill.cluster.mapreduce.codecs.signatures import Signature
from ringmill.cluster.mapreduce.codecs.typed_records import record_type, same_type
from ringmill.cluster.mapreduce.failures import shown
from ringmill.cluster.mapreduce.files.input_plan import ANY_SIZE
from ringmill.cluster.mapreduce.made_at import MadeAt, made_here

__all__ = [
    "Iteration",
    "JobChain",
    "Runnable",
    "fed_source",
    "first_job",
    "iterate",
    "last_job",
    "own_sources_of",
    "params_of",
    "pipeline",
]

MOST_LINKS: Final = 100


@dataclass(frozen=True, slots=True)
class Iteration:
    """A job that reads what it has written, in rounds.  Make one with `iterate()`.

    Rounds end as `until` says, the name of a counter, or as the `until` of `step` does.
    """

    step: JobDefinition
    most: int
    until: str = ""

    @property
    def asks(self) -> bool:
        """Whether a function says that the rounds end."""
        return self.step.until is not None


@dataclass(frozen=True)
class JobChain:
    """A checked chain.  Make one with `pipeline()`.  Its links have the formats that they have in it."""

    links: tuple[Iteration, ...]
    made_at: MadeAt = field(default_factory=made_here, repr=False, compare=False)

    @property
    def first(self) -> JobDefinition:
        """The job that reads the input."""
        return self.links[0].step

    @property
    def last(self) -> JobDefinition:
        """The job that writes the output."""
        return self.links[-1].step

    @cached_property
    def source_names(self) -> tuple[str, ...]:
        """The names by which a submission gives inputs: those of the first job, and those that later jobs
        read beside what the job before has given.  Empty where there is one, without a name."""
        others = [name for link in self.links for name in own_sources_of(link.step)]
        first = self.first.source_names or ((FIRST_INPUT,) if others else ())
        return tuple(dict.fromkeys((*first, *others)))

    @cached_property
    def side(self) -> dict[str, str]:
        """The side data of all jobs, by name."""
        return {name: path for link in self.links for name, path in link.step.side.items()}

    @cached_property
    def params(self) -> dict[str, str]:
        """The parameters of all jobs with their defaults."""
        return {name: value for link in self.links for name, value in link.step.params.items()}


Runnable: TypeAlias = JobDefinition | JobChain
"""What can be run."""


def first_job(target: Runnable) -> JobDefinition:
    """The job that reads the input."""
    return target.first if isinstance(target, JobChain) else target


def last_job(target: Runnable) -> JobDefinition:
    """The job that writes the output."""
    return target.last if isinstance(target, JobChain) else target


def fed_source(step: JobDefinition) -> str:
    """The source of a job that gets what the job before it has given; "" where it has no sources."""
    fed = (each.name for each in step.branches if each.input.format == FED_FORMAT)
    return next(fed, "")


def own_sources_of(step: JobDefinition) -> tuple[str, ...]:
    """The others, whose paths a submission gives."""
    return tuple(name for name in step.source_names if name != fed_source(step)) if fed_source(step) else ()


def iterate(step: JobDefinition, *, max: int, until: str | Until = "") -> Iteration:
    """A job that reads its own output again, for `pipeline`: `max` rounds, or fewer.

    `step` reads FileInput("records") and gives pairs of the types that its map takes.  `until` names a
    counter: the round that counts nothing under it is the last.  Or it is a function: it gets the RoundResult
    of each round but the last that `max` allows, its number, counters and records, and says True where that
    was the last.  It runs in a task process; its answer counts from when the job's journal has it.  A
    pipeline that ends with an iteration writes its records in the output format of `step`.

    Of a step with `update` the states stay in their parts: its first round gets each record of what comes
    before as a key with its state, no key twice.

    Raises InvalidArgument.
    """
    if not isinstance(step, JobDefinition):
        raise InvalidArgument(f"iterate takes a job, not {shown(step, 100)}", hint="the result of job()")
    if type(max) is not int or not 1 <= max <= MOST_ROUNDS:
        raise InvalidArgument(f"max must be 1 to {MOST_ROUNDS} rounds, not {shown(max, 40)}")
    _check_types(step, step)
    if isinstance(until, FunctionType):
        return Iteration(replace(step, until=until), max)
    if not isinstance(until, str):
        raise InvalidArgument(
            f"until must be the name of a counter or a function, not {shown(until, 100)}",
            hint='ctx.count("moved") in map or reduce, until="moved": the round that counts none is the last',
        )
    return Iteration(step, max, until)


def pipeline(*steps: JobDefinition | Iteration) -> JobChain:
    """Several jobs as one: each reads what the one before has written, and the last writes the output.

    All but the first read FileInput("records"), or have one source that does; the output formats of all but
    the last do not count.  The other sources of later jobs, also of joins, are inputs that a submission
    names; beside them "input" stands for that of a first job without sources.  Nothing shows but the output
    of the last one.

    Raises InvalidArgument for jobs that do not fit together.
    """
    if not 1 <= len(steps) <= MOST_LINKS or not all(isinstance(s, JobDefinition | Iteration) for s in steps):
        raise InvalidArgument(
            f"a pipeline has 1 to {MOST_LINKS} jobs and iterations, not {shown(steps, 100)}",
            hint="pipeline(a, iterate(b, max=10), c)",
        )
    links = [step if isinstance(step, Iteration) else Iteration(step, 1) for step in steps]
    for step in steps:
        if isinstance(step, JobDefinition):
            refuse_alone(step)
    for link in links:
        _check_alone(link.step)
    if any(isinstance(link.step.output, KvOutput) for link in links[:-1]):
        raise InvalidArgument("only the last job of a pipeline may write a keyspace")
    for before, link in pairwise(links):
        _check_types(before.step, link.step)
    _check_side([link.step for link in links])
    links = _spread_out(links)
    if isinstance(steps[-1], Iteration):
        links.append(Iteration(_writing(links[-1].step), 1))
    links = [_shuffling(link) if number or link.most > 1 else link for number, link in enumerate(links)]
    inner = [replace(link, step=replace(link.step, output=FileOutput(FED_FORMAT))) for link in links[:-1]]
    for link in inner:
        check_definition(link.step)
    return JobChain((*inner, links[-1]))


def _check_alone(step: JobDefinition) -> None:
    """Raises InvalidArgument for what a stage cannot be."""
    if step.on_bad_record != "fail":
        raise InvalidArgument(
            f"{step.map_signature.where}: a job of a pipeline sets no bad records aside",
            hint="run the job that reads the raw input by itself, with output=FileOutput('records')",
        )


def _shuffling(link: Iteration) -> Iteration:
    """A join that reads what another job has given sends both sides to the parts: what a stage gives is small
    or large as it comes.  Raises InvalidArgument for one that must not."""
    if link.step.broadcast_bytes == ANY_SIZE:
        raise InvalidArgument(
            "strategy='broadcast' reads a side that is there when the pipeline is submitted",
            hint="behind another job let the join have strategy='auto', 'hash' or 'merge'",
        )
    for each in link.step.branches:
        if isinstance(each.input, KvInput):
            raise InvalidArgument(
                f"source {each.name} is a keyspace, which the first job of a pipeline alone can read",
                hint="let the first job read it, or run the jobs one by one",
            )
    return replace(link, step=replace(link.step, broadcast_bytes=0)) if link.step.broadcast_bytes else link


def _check_side(steps: Sequence[JobDefinition]) -> None:
    """Raises InvalidArgument for a name that stands for two files: a submission gives a name one path."""
    paths: dict[str, str] = {}
    for name, path in (pair for step in steps for pair in step.side.items()):
        if path and paths.setdefault(name, path) != path:
            raise InvalidArgument(
                f"side data {name} is {paths[name]} in one job, and {path} in another",
                hint="jobs of a pipeline that name the same side data declare the same path",
            )


def _check_types(before: JobDefinition, after: JobDefinition) -> None:
    """Raises InvalidArgument unless one reads the records that the other gives."""
    giver, taker = before.last_signature, after.map_signature
    if after.branches:
        taker = next((each.signature for each in after.branches if each.name == fed_source(after)), taker)
    if not fed_source(after) and (after.branches or after.input.format != FED_FORMAT):
        raise InvalidArgument(
            f"map {taker.where} reads {after.input.format!r}; behind another job of a pipeline it reads "
            "records",
            hint='declare job(map=..., input=FileInput("records"))',
        )
    for what, given, wanted in (
        ("key", giver.out_key, taker.first),
        ("value", giver.out_value, taker.second),
    ):
        if not same_type(given, wanted):
            raise InvalidArgument(
                f"{giver.where} gives a {what} of type {record_type(given)}, map {taker.where} takes "
                f"{record_type(wanted)}",
                hint="records keep their types between jobs: declare the same one",
            )


def _spread_out(links: Sequence[Iteration]) -> list[Iteration]:
    """The links, and before each whose states stay in their parts what brings them there, sorted, where the
    link before may have left them elsewhere."""
    made: list[Iteration] = []
    for link in links:
        if link.step.update is not None and not (made and is_spread_for(made[-1].step, link.step)):
            made.append(Iteration(_spreading(link.step), 1))
        made.append(link)
    return made


def _spreading(step: JobDefinition) -> JobDefinition:
    """What sends each state to the part of its key."""
    return _passing(
        step, "(the states)", output=FileOutput(FED_FORMAT), reducers=step.reducers, partition=step.partition
    )


def _writing(step: JobDefinition) -> JobDefinition:
    """What writes the records of the last round in the format of the job's output."""
    return _passing(step, "(the records)", output=step.output, reducers=0, order="input")


def _passing(step: JobDefinition, where: str, **settings: Any) -> JobDefinition:
    """A job that gives the records as it gets them, with the memory of the step that holds the same ones;
    `settings` are fields of JobDefinition."""
    taker = step.map_signature
    signature = Signature(where, taker.first, taker.second, taker.first, taker.second, False)
    passing = JobDefinition(
        map=_kept, combine=None, reduce=None, input=FileInput(FED_FORMAT), params={}, map_signature=signature,
        combine_signature=None, reduce_signature=None, task_memory_mib=step.task_memory_mib, **settings,
    )  # fmt: skip
    return check_definition(passing)


def _kept(key: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    yield key, value


def params_of(step: JobDefinition, given: Mapping[str, str]) -> dict[str, str]:
    """Of the parameters of a submission those that a job has."""
    return {name: value for name, value in given.items() if name in step.params}
