"""`python -m ringmill.simulator`, which `ringmill simulate` becomes: run a cluster from a seed and judge it.

Exit codes: 0 every promise held, 1 one was broken, 2 a bad argument, 130 interrupted.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from ringmill.client.cli.frame.exit_codes import ExitCode
from ringmill.client.cli.frame.failures import Interrupted
from ringmill.client.cli.frame.progress_bar import Bar
from ringmill.client.cli.running import run_command
from ringmill.cluster.errors import InvalidArgument
from ringmill.simulator.campaign import Summary, run_seeds
from ringmill.simulator.command_line import Given, simulate_command
from ringmill.simulator.job_report import (
    MOST_JOB_RUNS,
    JobOutcome,
    JobSummary,
    job_document,
    job_text,
    run_job_seeds,
    shrink_jobs,
)
from ringmill.simulator.job_run import run_job_seed
from ringmill.simulator.options import RunOptions
from ringmill.simulator.report import as_document, as_text, failure_text, to_json
from ringmill.simulator.run import RunResult, run_seed
from ringmill.simulator.shrink import MOST_RUNS, shrink
from ringmill.simulator.timeline import timeline_html
from ringmill.simulator.verdict import Verdict

__all__ = ["main"]

V = TypeVar("V", bound=Verdict)
R = TypeVar("R", RunResult, JobOutcome)
A_contra = TypeVar("A_contra", contravariant=True)


class Sum(Protocol[A_contra]):
    """What a campaign's results are added to."""

    seeds: int
    failed: dict[int, str]

    def add(self, result: A_contra, /) -> None: ...
    def text(self) -> str: ...
    def document(self) -> dict[str, Any]: ...


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    return run_command(simulate_command(_simulate), "ringmill simulate", words)


def _simulate(given: Given, options: RunOptions) -> ExitCode:
    """Raises InvalidArgument for a file that cannot be written, Interrupted on Ctrl-C."""
    _check_files(given)
    try:
        is_ok = _run(given, options)
    except KeyboardInterrupt as interruption:
        raise _interrupted(f"seed {given.seed} has no verdict", "run it again") from interruption
    return ExitCode.DONE if is_ok else ExitCode.FAILED


def _check_files(given: Given) -> None:
    """A file that cannot be written is found out before a run and not after it.  Raises InvalidArgument."""
    for flag in ("trace", "html", "history"):
        path = getattr(given, flag)
        try:
            if path:
                open(path, "a", encoding="utf-8").close()
        except OSError as error:
            raise InvalidArgument(
                f"--{flag} {path} cannot be written: {error.strerror}",
                hint="name a file in a folder that is there",
            ) from error


def _run(given: Given, options: RunOptions) -> bool:
    if given.seeds > 1:
        return _many_jobs(given, options) if given.jobs else _many(given, options)
    return _one_of_jobs(given, options) if given.jobs else _one(given, options)


def _one(given: Given, options: RunOptions) -> bool:
    bar = Bar("operations", given.ops)
    result = run_seed(given.seed, options, story=bool(given.trace or given.html), watch=bar.show)
    bar.end()
    _write(given.trace, "\n".join(result.story) + "\n")
    if given.html:
        _write(given.html, timeline_html(result))
    if given.history:
        _write(given.history, "\n".join(result.history.to_lines()) + "\n")
    if result.violations and not given.no_shrink:
        result = _smaller(result, MOST_RUNS, lambda failing, watch: shrink(failing, watch=watch).result)
    _print(given, result)
    return result.is_ok


def _one_of_jobs(given: Given, options: RunOptions) -> bool:
    result = run_job_seed(given.seed, options, story=bool(given.trace))
    _write(given.trace, "\n".join(result.story) + "\n")
    if result.violations and not given.no_shrink:
        result = _smaller(result, MOST_JOB_RUNS, shrink_jobs)
    print(to_json(job_document(result)) if given.is_json else job_text(result))
    return result.is_ok


def _smaller(failing: V, most_runs: int, shrink_it: Callable[[V, Callable[[int], None]], V]) -> V:
    print(f"seed {failing.seed} breaks {failing.violations[0].property}; shrinking …", file=sys.stderr)
    bar = Bar("runs at most", most_runs)
    found = shrink_it(failing, bar.show)
    bar.end()
    return found


def _many(given: Given, options: RunOptions) -> bool:
    return _sum_up(given, Summary(), run_seeds(_seeds(given), options, processes=given.processes))


def _many_jobs(given: Given, options: RunOptions) -> bool:
    return _sum_up(given, JobSummary(), run_job_seeds(_seeds(given), options, processes=given.processes))


def _sum_up(given: Given, summary: Sum[R], results: Iterable[R]) -> bool:
    bar = Bar("seeds", given.seeds)
    try:
        for result in results:
            summary.add(result)
            bar.show(summary.seeds)
            if result.seed in summary.failed:
                _say(bar, f"seed {result.seed}: {summary.failed[result.seed]}")
    except KeyboardInterrupt as interruption:
        bar.end()
        raise _interrupted(
            f"{summary.seeds:,} of {given.seeds:,} seeds done, {len(summary.failed)} with a violation",
            f"go on with --seed {given.seed + summary.seeds} --seeds {given.seeds - summary.seeds}",
        ) from interruption
    bar.end()
    print(to_json(summary.document()) if given.is_json else summary.text())
    return not summary.failed


def _seeds(given: Given) -> range:
    return range(given.seed, given.seed + given.seeds)


def _say(bar: Bar, line: str) -> None:
    bar.end()
    print(line, file=sys.stderr, flush=True)


def _interrupted(told: str, hint: str) -> Interrupted:
    """A run is dropped as it stands: what its half-done tasks say to that is noise."""
    sys.unraisablehook = lambda _: None
    warnings.simplefilter("ignore", RuntimeWarning)  # of coroutines that nobody awaits any more
    return Interrupted(f"interrupted: {told}", hint=hint)


def _print(given: Given, result: RunResult) -> None:
    if given.is_json:
        print(to_json(as_document(result)))
        return
    print(as_text(result))
    if result.violations:
        print(failure_text(result))


def _write(path: str, text: str) -> None:
    if path:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
