"""What a stage of a chain reads and writes, as the description of an ordinary job.

Pure.  What a stage writes for the next one lies in a hidden folder beside the output of the chain, in the
format of typed records.

Rule J24: docs/protocol/jobs.md.  Layout: docs/formats/job.md, "Chains".
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from ringmill.cluster.mapreduce.api.chains.stages import FED_FORMAT, STAGES, LinkRounds, StagePlace
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files.splits import InputFile
from ringmill.cluster.mapreduce.outputs import staging_folder

__all__ = ["chain_folder", "former_stage", "later_inputs", "rounds_of", "stage_of", "stage_passes_on"]


def chain_folder(spec: JobSpec) -> str:
    """The hidden folder beside the output that holds what stages write for each other."""
    return f"{staging_folder(spec.output, spec.staging)}{STAGES}"


def stage_of(spec: JobSpec, place: StagePlace) -> JobSpec:
    """The description of the stage of a chain as an ordinary job of the same id; of another job itself.

    What was noted of side data when the job was planned counts for every stage.
    """
    if not spec.chain:
        return spec
    link = JobSpec.decode(spec.chain[place.link].spec)
    is_last = place.link + 1 == len(spec.chain)
    written = spec.output if is_last else f"{chain_folder(spec)}/stage-{place.passed + 1}"
    return replace(
        link,
        job=spec.job,
        planned=spec.planned,
        inputs=_fed(link, f"{chain_folder(spec)}/stage-{place.passed}") if place.passed else spec.inputs,
        output=written,
        overwrite=spec.overwrite and is_last,
        output_url=spec.output_url if is_last else "",
        seed=spec.seed + place.passed,
        noted=_noted_in(spec, place.passed),
    )


def rounds_of(spec: JobSpec) -> tuple[LinkRounds, ...]:
    """How often each link of a chain runs; empty for another job."""
    return tuple(each.rounds._replace(keeps_states=_link_of(each.spec).keeps_states) for each in spec.chain)


def stage_passes_on(spec: JobSpec, link: int, passed: int) -> bool:
    """Whether the reduces of a stage of this link, after `passed` others, write what its maps have
    rendered.

    A look at a job asks this of each stage that is over, so no description of a stage is made for it.
    """
    if not spec.chain:
        return spec.passes_on
    return _link_of(spec.chain[link].spec).would_pass_on(_noted_in(spec, passed))


@lru_cache(maxsize=64)
def _link_of(data: bytes) -> JobSpec:
    return JobSpec.decode(data)


def _noted_in(spec: JobSpec, passed: int) -> dict[str, tuple[InputFile, ...]]:
    return {name: files for name, files in spec.noted.items() if not passed or name in spec.side}


def _fed(link: JobSpec, folder: str) -> tuple[str, ...]:
    """The inputs of a link, whose first source of records gets what the stage before has written."""
    at = _fed_at(link)
    return (*link.inputs[:at], folder, *link.inputs[at + 1 :])


def _fed_at(link: JobSpec) -> int:
    at = 0
    for source in link.sources:
        if source.format == FED_FORMAT:
            break
        at += source.inputs
    return at


def later_inputs(spec: JobSpec) -> list[str]:
    """The paths that links but the first read beside what the stage before them has written."""
    links = [JobSpec.decode(each.spec, is_link=True) for each in spec.chain[1:]]
    return [path for link in links for at, path in enumerate(link.inputs) if at != _fed_at(link)]


def former_stage(spec: JobSpec, place: StagePlace) -> str | None:
    """The folder that nobody reads once the stage at a place begins; None when there is none."""
    return f"{chain_folder(spec)}/stage-{place.passed - 1}" if place.passed > 1 else None
