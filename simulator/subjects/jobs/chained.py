"""Some jobs of a run are chains: four stages to six, the last of which writes what readers see.  Of some of
them a function ends the rounds, and a join with a file follows; of others states stay in their parts."""

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

__all__ = ["with_chains", "with_states"]

_CHANCE: Final = 0.15
_CHAINS: Final = ("chained", "asked")
_STATES_CHANCE: Final = 0.15
_KEEPS_STATES: Final = "kept"


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
        params={"differs": spec.params.get("differs", "")} if name == _KEEPS_STATES else {},
    )  # fmt: skip


def with_states(plans: Sequence[PlannedJob], draws: Random) -> list[PlannedJob]:
    """Some are iterations that keep states, whatever they were; two with one output again both or neither."""
    outputs = sorted({plan.spec.output for plan in plans})
    drawn = [output for output in outputs if draws.random() < _STATES_CHANCE]
    return [
        replace(plan, spec=_with_memory(_chain_of(plan.spec, _KEEPS_STATES), plan.spec))
        if plan.spec.output in drawn
        else plan
        for plan in plans
    ]


def _with_memory(chain: JobSpec, spec: JobSpec) -> JobSpec:
    """Of some neither messages nor what a map gives fits into memory."""
    links = []
    for link in chain.chain:
        own = JobSpec.decode(link.spec, is_link=True)
        own = replace(own, memory_bytes=spec.memory_bytes, compression=spec.compression)
        links.append(link._replace(spec=own.encode()))
    return replace(chain, chain=tuple(links), memory_bytes=spec.memory_bytes, compression=spec.compression)
