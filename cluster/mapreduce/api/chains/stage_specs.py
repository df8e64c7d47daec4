"""What a stage of a chain reads and writes, as the description of an ordinary job.

Pure.  What a stage writes for the next one lies in a hidden folder beside the output of the chain, in the
format of typed records.

Rule J24: docs/protocol/jobs.md.  Layout: docs/formats/job.md, "Chains".
"""

from __future__ import annotations

from dataclasses import replace

from ringmill.cluster.mapreduce.api.chains.stages import STAGES, StagePlace
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.outputs import staging_folder

__all__ = ["chain_folder", "former_stage", "stage_of"]


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
        inputs=(f"{chain_folder(spec)}/stage-{place.passed}",) if place.passed else spec.inputs,
        output=written,
        overwrite=spec.overwrite and is_last,
        seed=spec.seed + place.passed,
        noted={name: files for name, files in spec.noted.items() if not place.passed or name in spec.side},
    )


def former_stage(spec: JobSpec, place: StagePlace) -> str | None:
    """The folder that nobody reads once the stage at a place begins; None when there is none."""
    return f"{chain_folder(spec)}/stage-{place.passed - 1}" if place.passed > 1 else None
