"""The description of a chain: that of its first job, with those of all its links inside.

Pure.  Layout: docs/formats/job.md, "Chains".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.chains.chain import Runnable, fed_source, params_of
from ringmill.cluster.mapreduce.api.chains.stages import FIRST_INPUT, LinkOf
from ringmill.cluster.mapreduce.api.chains.state_steps import refuse_alone
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.spec import JobSpec

__all__ = ["spec_of"]


def spec_of(
    target: Runnable,
    *,
    job: str,
    module: str,
    name: str,
    bundle_sha256: str,
    inputs: tuple[str, ...] | Mapping[str, tuple[str, ...]],
    output: str,
    reducers: int | None = None,
    params: Mapping[str, str] | None = None,
    overwrite: bool = False,
    split_mib: int | None = None,
    side: Mapping[str, str] | None = None,
    on_bad_record: str | None = None,
    output_keyspace: str = "",
    weight: int = 1,
    collect_bytes: int = 0,
    output_url: str = "",
    network: bool = False,
    task_memory_mib: int | None = None,
) -> JobSpec:
    """The spec of one run of a job or a chain; the arguments are those of JobSpec.of.

    Raises InvalidArgument, also for settings that each job of a chain has of its own.
    """
    if isinstance(target, JobDefinition):
        refuse_alone(target)
        return JobSpec.of(
            target, job=job, module=module, name=name, bundle_sha256=bundle_sha256, inputs=inputs,
            output=output, reducers=reducers, params=params, overwrite=overwrite, split_mib=split_mib,
            side=side, on_bad_record=on_bad_record, output_keyspace=output_keyspace,
            weight=weight, collect_bytes=collect_bytes, output_url=output_url, network=network,
            task_memory_mib=task_memory_mib,
        )  # fmt: skip
    settings = {"reducers": reducers, "split_mib": split_mib, "on_bad_record": on_bad_record}
    for setting, value in {**settings, "task_memory_mib": task_memory_mib}.items():
        if value is not None:
            raise InvalidArgument(
                f"{setting} is a setting of each job of a pipeline, and {name} is a pipeline",
                hint=f"declare job({setting}=...)",
            )
    given = params or {}
    if unknown := sorted(set(given) - set(target.params)):
        known = ", ".join(sorted(target.params)) or "none"
        raise InvalidArgument(f"the pipeline has no parameter {', '.join(unknown)}; it has {known}")
    specs = [
        JobSpec.of(
            link.step, job=job, module=module, name=f"{name}.{number}", bundle_sha256=bundle_sha256,
            inputs=_inputs_of(link.step, inputs, output, is_first=number == 0), output=output,
            params=params_of(link.step, given),
            side=side, output_keyspace=output_keyspace if number + 1 == len(target.links) else "",
            collect_bytes=collect_bytes if number + 1 == len(target.links) else 0,
            network=network,
        )
        for number, link in enumerate(target.links)
    ]  # fmt: skip
    if any(spec.keeps_states for spec in specs):
        specs = [replace(spec, has_states=True) for spec in specs]
    links = tuple(
        LinkOf(spec.encode(), link.most, link.until, link.asks)
        for spec, link in zip(specs, target.links, strict=True)
    )
    return replace(
        specs[0], name=name, overwrite=overwrite, chain=links, output_format=specs[-1].output_format,
        output_compression=specs[-1].output_compression, output_keyspace=output_keyspace, weight=weight,
        collect_bytes=collect_bytes, output_url=output_url, network=any(spec.network for spec in specs),
    )  # fmt: skip


def _inputs_of(
    step: JobDefinition,
    given: tuple[str, ...] | Mapping[str, tuple[str, ...]],
    output: str,
    *,
    is_first: bool,
) -> tuple[str, ...] | dict[str, tuple[str, ...]]:
    """The inputs of a link; the output stands for what the link before it gives."""
    if is_first and not isinstance(given, Mapping):
        return given
    if not step.branches:
        return given[FIRST_INPUT] if is_first and isinstance(given, Mapping) else (output,)
    paths = given if isinstance(given, Mapping) else {}
    return {
        name: (output,) if name == fed_source(step) and not is_first else paths[name]
        for name in step.source_names
    }
