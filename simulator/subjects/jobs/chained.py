"""Some jobs of a run are chains: four stages or five, the last of which writes what readers see.  Of half of
them a function ends the rounds, and a join with a file follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Final

from ringmill.cluster.mapreduce.api.chains.chain_specs import spec_of
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.simulator.subjects.jobs import places_of_words
from ringmill.simulator.subjects.jobs.oracle import INPUT
from ringmill.simulator.subjects.jobs.sessions import PlannedJob

__all__ = ["with_chains"]

_CHANCE: Final = 0.15
_CHAINS: Final = ("chained", "asked")


def with_chains(plans: Sequence[PlannedJob], draws: Random) -> list[PlannedJob]:
    """Two jobs with one output are both chains, or neither is."""
    outputs = sorted({plan.spec.output for plan in plans})
    drawn = [output for output in outputs if draws.random() < _CHANCE]
    names = {output: draws.choice(_CHAINS) for output in drawn}
    return [
        replace(plan, spec=_chain_of(plan.spec, names[plan.spec.output]))
        if plan.spec.output in names
        else plan
        for plan in plans
    ]


def _chain_of(spec: JobSpec, name: str) -> JobSpec:
    files = spec.inputs[:1]
    return spec_of(
        getattr(places_of_words, name), job=spec.job, module=spec.module, name=name,
        bundle_sha256=spec.bundle_sha256, output=spec.output,
        inputs={"input": files, "some": (f"{INPUT}/0.txt",)} if name == "asked" else files,
    )  # fmt: skip
