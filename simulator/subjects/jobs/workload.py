"""Draws the jobs of a run from its seed: one or two, and what their outputs held before."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from ringmill.cluster.mapreduce.api.bundle import Bundle, build_bundle
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.simulator.disk.folder_tree import FolderTree
from ringmill.simulator.subjects.jobs import places_of_words
from ringmill.simulator.subjects.jobs.oracle import INPUT, write_file
from ringmill.simulator.subjects.jobs.sessions import PlannedJob
from ringmill.simulator.world.node_process import SHARED

__all__ = ["FORMER", "draw_plans", "packed_job", "with_former_outputs", "with_pauses"]

_MODULE: Final = "places_of_words"
FORMER: Final[Mapping[str, bytes]] = {"_SUCCESS": b"{}\n", "part-00000": b"former\t1\n"}
"""What an earlier job left, in some runs."""
_DIFFERS_CHANCE: Final = 0.5
_BAD_CHANCE: Final = 0.3
_MANY: Final = 1000
_FORMER_CHANCE: Final = 0.3
_PAUSED_CHANCE: Final = 0.3
_TWO_INPUTS_CHANCE: Final = 0.3
_TWO_INPUTS: Final = ("grouped", "paired")


def packed_job() -> Bundle:
    """The simulated clusters' job, packed by the real packer."""
    sources = {f"{_MODULE}.py": inspect.getsource(places_of_words).encode()}
    return build_bundle(_MODULE, sources.get)


def draw_plans(draws: Random, twists: Random, shapes: Random, bundle_sha256: str) -> list[PlannedJob]:
    """One or two jobs; now and then the second wants what the first one does.

    Some have two inputs, as `shapes` says.  As `twists` says, no two outputs of a map are equal in half of
    the runs, and in some there are bad records (places_of_words.py).
    """
    params = {"differs": "yes"} if twists.random() < _DIFFERS_CHANCE else {}
    bad_records = _MANY if twists.random() < _BAD_CHANCE else 0
    params |= {"bad": "w3"} if bad_records else {}
    plans: list[PlannedJob] = []
    name = ""
    for index in range(draws.choice((1, 1, 2))):
        is_same = index == 1 and draws.random() < 0.5
        spec = JobSpec(
            job=f"job-{index}", module=_MODULE, name="places", bundle_sha256=bundle_sha256,
            inputs=(INPUT,), output=f"{SHARED}/out-{0 if is_same else index}", input_format="lines",
            output_format="tsv", reducers=2, compression=draws.choice(("none", "lz4", "zstd")),
            memory_bytes=draws.choice((200, 1 << 20)), params=params,
            bad_records=bad_records,
        )  # fmt: skip
        kill_after_s = 2.5 * draws.random() if draws.random() < 0.1 else None
        if not is_same:  # two that want the same are one kind of job
            name = shapes.choice(_TWO_INPUTS) if shapes.random() < _TWO_INPUTS_CHANCE else ""
        if name:
            spec = _with_two_inputs(spec, "grouped" if bad_records else name)  # a broadcast has none
        plans.append(
            PlannedJob(
                index, spec, 1.5 * draws.random(), kill_after_s, is_repeated=draws.random() < 0.7
            )
        )  # fmt: skip
    return plans


def _with_two_inputs(spec: JobSpec, name: str) -> JobSpec:
    """The job of that name, over all files and one of them."""
    shaped = JobSpec.of(
        getattr(places_of_words, name), job=spec.job, module=spec.module, name=name,
        bundle_sha256=spec.bundle_sha256, inputs={"all": (INPUT,), "some": (f"{INPUT}/0.txt",)},
        output=spec.output, reducers=spec.reducers,
    )  # fmt: skip
    return replace(
        shaped, params=spec.params, memory_bytes=spec.memory_bytes, compression=spec.compression,
        bad_records=spec.bad_records,
    )  # fmt: skip


def with_pauses(plans: Sequence[PlannedJob], draws: Random) -> list[PlannedJob]:
    """Some jobs are paused for a while by their client, and they have different weights."""
    made: list[PlannedJob] = []
    for plan in plans:
        spec = replace(plan.spec, weight=draws.choice((1, 1, 3)))
        after_s, for_s = draws.random(), 0.5 + 2.5 * draws.random()
        is_paused = draws.random() < _PAUSED_CHANCE
        made.append(
            replace(plan, spec=spec, pause_after_s=after_s if is_paused else None, pause_for_s=for_s)
        )  # fmt: skip
    return made


def with_former_outputs(plans: Sequence[PlannedJob], draws: Random, shared: FolderTree) -> list[PlannedJob]:
    """Now and then a job replaces what an earlier one left.

    Only one that is asked for once: each further run would replace, and hide for a moment, what the first
    has shown.
    """
    made: list[PlannedJob] = []
    for plan in plans:
        output = plan.spec.output
        is_alone = not plan.is_repeated and sum(each.spec.output == output for each in plans) == 1
        if draws.random() < _FORMER_CHANCE and is_alone:
            shared.mkdir(output)
            for name, data in FORMER.items():
                write_file(shared, f"{output}/{name}", data)
            for folder in (output, SHARED):
                shared.fsync_dir(folder)
            plan = replace(plan, spec=replace(plan.spec, overwrite=True))  # noqa: PLW2901
        made.append(plan)
    return made
