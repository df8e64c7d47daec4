"""`ringmill job explain` as text, under 40 lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ringmill.client.cli.jobs.job_document import failure_lines
from ringmill.client.jobs.critical_path import PathStep
from ringmill.client.jobs.explanation import JobExplanation, StageFigures
from ringmill.client.jobs.job_values import ENDED

__all__ = ["explanation_lines", "phases_text", "size_text"]

STEPS = 8
ROWS = 3
PHASES_SHOWN = 5
LEAST_TOLD_S = 0.0005
CHAIN_ROWS = 8
_MEANT = {
    "stages": "the stages before",
    "plan": "planning, and waiting for a slot",
    "wait": "waiting",
    "commit": "committing the output",
}


def explanation_lines(explanation: JobExplanation) -> list[str]:
    """The lines; texts of users in them are as they came."""
    by_journal = "  (by its journal)" if explanation.is_of_journal else ""
    return [
        f"{explanation.job}  {explanation.state}  {explanation.seconds:.1f} s{by_journal}",
        *_chain(explanation),
        *_path(explanation),
        *_stages(explanation),
        _slots(explanation),
        *_lacks(explanation),
        *_stragglers(explanation),
        _skew(explanation),
        *_heavy_keys(explanation),
        _wasted(explanation),
        *_contained(explanation),
        *failure_lines(explanation.failures, least=1),
    ]


def _contained(explanation: JobExplanation) -> Iterator[str]:
    if explanation.containment:
        network = "its tasks may open connections" if explanation.network else "no network"
        yield f"contained: {', '.join(explanation.containment)}; {network}"


def phases_text(phases_s: Mapping[str, float]) -> str:
    """ "map 1.2 s, write 0.3 s", the longest first."""
    longest_first = sorted(phases_s.items(), key=lambda phase: -phase[1])[:PHASES_SHOWN]
    return ", ".join(f"{name} {_time(spent)}" for name, spent in longest_first if spent >= LEAST_TOLD_S)


def size_text(size: int) -> str:
    """A size for people: MB are 1,000,000 bytes."""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= least:
            return f"{size / least:.1f} {unit}"
    return f"{size} B"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _chain(explanation: JobExplanation) -> Iterator[str]:
    if (chain := explanation.chain) is None:
        return
    yield f"chain: {chain}"
    rows = chain.stages[-CHAIN_ROWS:]
    if before := rows[0].stage - 1:
        yield f"  {before} stages before, until {rows[0].began_s:.2f} s"
    for one in rows:
        until = " " * 10 + "..." if one.ended_s is None else f"{one.began_s:7.2f} - {one.ended_s:7.2f} s"
        yield (
            f"  {until}  stage {one.stage}, job {one.job}, round {one.round}: {one.maps} maps, "
            f"{one.reduces} reduces, {size_text(one.bytes_in)} and {one.records_in:,} records in, "
            f"{one.records_out:,} out"
        )
    yield f"of stage {rows[-1].stage}:"


def _path(explanation: JobExplanation) -> Iterator[str]:
    is_over = explanation.state in ENDED
    yield f"critical path: {'what the end waited for' if is_over else 'what the job has waited for so far'}"
    steps = explanation.critical_path
    if len(steps) > STEPS:
        yield f"  {len(steps) - STEPS} steps before"
    for step in steps[-STEPS:]:
        yield f"  {step.began_s:7.2f} - {step.ended_s:7.2f} s  {_step(step)}"


def _step(step: PathStep) -> str:
    if not step.attempts:
        return _MEANT[step.what]
    one = f"{step.last} on {step.node}"
    if step.attempts > 1:
        one = f"{step.attempts} {step.what}s one after the other, the last {one}"
    phases = phases_text(step.phases_s or {})
    return f"{one}: {phases}" if phases else one


def _stages(explanation: JobExplanation) -> Iterator[str]:
    for stage in explanation.stages:
        if not stage.attempts:
            continue
        yield f"{stage.name}: {stage.done} of {stage.tasks} tasks done in {_time(stage.seconds)}"
        phases = phases_text(stage.phases_s)
        processor = f"; processor {_time(stage.cpu_s)}" if stage.cpu_s else ""
        yield f"  all attempts  {_time(stage.slot_seconds)}{f': {phases}' if phases else ''}{processor}"
        usual = f"{_time(stage.median_task_s)} is the median, " if stage.done else ""
        yield f"  a task        {usual}{_time(stage.longest_task_s)} the longest ({stage.longest_task})"
        yield f"  through it    {_flow(stage)}"
        if stage.placed:
            yield f"  locality      {_locality(stage)}"
        if stage.bytes_unpacked:
            yield f"  shuffle       {_shuffle(stage)}"


def _locality(stage: StageFigures) -> str:
    share = stage.near / stage.placed
    return f"{stage.near} of {stage.placed} ran on a node that has their input, {share:.0%}"


def _shuffle(stage: StageFigures) -> str:
    return (
        f"{size_text(stage.bytes_travelled)} of {size_text(stage.bytes_in)} from other nodes; "
        f"{size_text(stage.bytes_unpacked)} unpacked"
    )


def _flow(stage: StageFigures) -> str:
    spills = f", {stage.spills} spills" if stage.spills else ""
    peak = f"; peak memory {stage.peak_bytes >> 20} MiB ({stage.peak_task})" if stage.peak_task else ""
    return (
        f"{size_text(stage.bytes_in)} and {stage.records_in:,} records in, "
        f"{size_text(stage.bytes_out)} and {stage.records_out:,} records out{spills}{peak}"
    )


def _slots(explanation: JobExplanation) -> str:
    slots = explanation.slots
    nodes = ", ".join(f"{node} {share:.0%}" for node, share in slots.by_node.items())
    if not nodes:
        return "slots: none yet"
    return f"slots: {slots.slots}, busy {slots.busy_share:.0%} of the time ({nodes})"


def _lacks(explanation: JobExplanation) -> Iterator[str]:
    for each in explanation.lacks[:ROWS]:
        yield f"  {each.node} offers none: {each.why}"
    if (left := len(explanation.lacks) - ROWS) > 0:
        yield f"  and {left} more"


def _stragglers(explanation: JobExplanation) -> Iterator[str]:
    if not explanation.stragglers:
        yield "stragglers: none"
        return
    yield f"stragglers: {len(explanation.stragglers)} took 1.5 times as long as is usual for their bytes"
    for each in explanation.stragglers[:ROWS]:
        yield (
            f"  {each.attempt} on {each.node}: {_time(each.seconds)}, usual {_time(each.usual_s)} "
            f"for {size_text(each.bytes_in)}"
        )
    if (left := len(explanation.stragglers) - ROWS) > 0:
        yield f"  and {left} more"


def _skew(explanation: JobExplanation) -> str:
    if explanation.skew is None:
        return f"skew: {'not known yet' if explanation.state not in ENDED else 'no partitions to compare'}"
    skew = explanation.skew
    usual = f"{skew.times_median:.1f} times the median of {size_text(skew.median_bytes)}"
    if not skew.median_bytes:
        usual = "where most have nothing"
    return (
        f"skew: the largest partition, of {skew.largest_task}, has {size_text(skew.largest_bytes)}, "
        f"{usual}, {skew.share:.0%} of all"
    )


def _heavy_keys(explanation: JobExplanation) -> Iterator[str]:
    for each in explanation.heavy_keys[:ROWS]:
        yield f"  key {each.key} has {each.share:.0%} of all records, {each.records:,}, in {each.task}"
    if (left := len(explanation.heavy_keys) - ROWS) > 0:
        yield f"  and {left} more"


def _wasted(explanation: JobExplanation) -> str:
    if not explanation.wasted_attempts:
        return "wasted: nothing; every attempt counts"
    several = "attempts that do" if explanation.wasted_attempts > 1 else "attempt that does"
    return (
        f"wasted: {explanation.wasted_attempts} {several} not count, {_time(explanation.wasted_s)}, "
        f"{explanation.wasted_share:.0%} of the time of all"
    )
