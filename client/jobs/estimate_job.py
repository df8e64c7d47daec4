"""Tells how long a job will take on a number of nodes that need not exist: runs a sample of it here.

A composition root: it opens the real FileSystem door.  It does not load gRPC.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace

from ringmill.client.jobs.run_local import Input, absolute_inputs, absolute_side, new_name
from ringmill.cluster.adapters.files.url_files import UrlFiles
from ringmill.cluster.adapters.machine_name import own_cores
from ringmill.cluster.adapters.processes.forked_tasks import ForkedTasks
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.chains.chain import Runnable
from ringmill.cluster.mapreduce.api.chains.state_steps import refuse_alone
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.job_steps import input_plan_of
from ringmill.cluster.mapreduce.failures import shown
from ringmill.cluster.mapreduce.files.splits import SPLIT_SIZES
from ringmill.cluster.mapreduce.local.estimating import JobEstimate, estimated

__all__ = ["estimate_job"]

MOST_SLOTS = 1 << 20


def estimate_job(
    job: Runnable,
    input: Input,
    *,
    nodes: int,
    slots: int = 1,
    cores: int | None = None,
    reducers: int | None = None,
    params: Mapping[str, str] | None = None,
    split_mib: int | None = None,
    side: Mapping[str, str] | None = None,
    on_bad_record: str | None = None,
    scratch: str = ".",
) -> JobEstimate:
    """What a job will probably take on `nodes` nodes with `slots` tasks at a time each.

    Up to three maps and a part of one reduce are run here, so this machine should be one like theirs; nothing
    is written but files in a hidden folder of `scratch`, which are removed.  `cores` is how many cores the
    nodes have in all, where they share a machine; without it each task is taken to have one of its own.  The
    other arguments are those of `run_local`.

    Raises InvalidArgument for bad arguments and for a job that reads a keyspace, JobFailed when the job's
    code fails.
    """
    for name, number in (("nodes", nodes), ("slots", slots), ("cores", 1 if cores is None else cores)):
        if type(number) is not int or not 1 <= number <= MOST_SLOTS:
            raise InvalidArgument(f"{name} must be 1 to {MOST_SLOTS}, not {shown(number, 40)}")
    definition = _readable_now(job)
    named = absolute_inputs(definition, input)
    folder = f"{os.path.abspath(scratch)}/.ringmill-{new_name('estimate')}"
    spec = JobSpec.of(
        definition,
        job="estimate",
        module=definition.map.__module__,
        name="job",
        bundle_sha256="",
        inputs=named if definition.source_names else named[""],
        output=f"{folder}/output",
        reducers=reducers,
        params=params,
        split_mib=split_mib,
        side=absolute_side(definition, side),
        on_bad_record=on_bad_record,
    )
    at_once = nodes * slots if cores is None else min(nodes * slots, cores)
    beside = 1 if cores is None else min(at_once, own_cores())
    with closing(UrlFiles()) as files:
        plan = input_plan_of(spec, files, SPLIT_SIZES)
        try:
            files.mkdir(folder)
            return estimated(
                definition,
                replace(spec, noted=plan.noted),
                plan,
                files,
                folder=folder,
                at_once=at_once,
                each=ForkedTasks(beside),
                now=SystemClock().monotonic,
            )
        finally:
            files.remove_tree(folder)


def _readable_now(job: Runnable) -> JobDefinition:
    """The job, if a sample of its input can be read here.  Raises InvalidArgument."""
    if not isinstance(job, JobDefinition):
        raise InvalidArgument(
            "of a pipeline only its first job reads what is there now", hint="estimate that job by itself"
        )
    refuse_alone(job)
    if job.reads_keyspace:
        raise InvalidArgument(
            "an estimate runs a sample of the input here, and the job reads a keyspace",
            hint="estimate a job that reads files of the same size",
        )
    return job
