"""Runs a job on the executors of a Spark cluster (PySpark)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from importlib import import_module
from typing import Any

from ringmill.client.engines.elsewhere import elsewhere
from ringmill.client.engines.shipping import Shipped
from ringmill.client.jobs.run_local import Input, run_from_here
from ringmill.cluster.mapreduce.api.formats import CollectOutput
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.local.in_process import LocalResult

__all__ = ["run_on_spark"]


def run_on_spark(
    job: JobDefinition,
    input: Input,
    output: str | CollectOutput,
    *,
    context: Any,
    reducers: int | None = None,
    params: Mapping[str, str] | None = None,
    overwrite: bool = False,
    split_mib: int | None = None,
    side: Mapping[str, str] | None = None,
    on_bad_record: str | None = None,
) -> LocalResult:
    """Run a job with a `pyspark.SparkContext`; the other arguments are those of `run_local`, and so is the
    output, byte for byte.

    Executors need this package, and see inputs and output at the same paths.  Spark runs tasks of a lost
    executor again.  Raises InvalidArgument, JobFailed when the job's code fails, and what Spark raises.
    """

    def carry(
        run: Callable[[Any], Shipped[Any]], tasks: Sequence[Any]
    ) -> Generator[Shipped[Any], None, None]:
        yield from context.parallelize(tasks, max(1, len(tasks))).map(run).collect()

    return run_from_here(
        job, input, output, elsewhere(job, carry, import_module("pyspark.cloudpickle")),
        reducers=reducers, params=params, overwrite=overwrite, split_mib=split_mib, side=side,
        on_bad_record=on_bad_record,
    )  # fmt: skip
