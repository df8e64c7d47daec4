"""`python -m ringmill.simulator`, which `ringmill simulate` becomes: run a cluster from a seed and judge it.

Exit codes: 0 every promise held, 1 one was broken or a mark was never met, 2 a bad argument, 130 interrupted.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool

from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.failure_text import Interrupted
from ringmill.client.cli.console.progress_bar import Bar
from ringmill.client.cli.running import run_command
from ringmill.cluster.errors import InvalidArgument, RingmillError
from ringmill.simulator.campaign.many import Summary, has_to_meet_all, run_seeds
from ringmill.simulator.campaign.report import as_document, as_text, failure_text, to_json
from ringmill.simulator.campaign.shrink import MOST_RUNS, shrink
from ringmill.simulator.campaign.timeline import timeline_html
from ringmill.simulator.command_line import Given, simulate_command
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import SimulationResult, run_seed

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    return run_command(simulate_command(_simulate), "ringmill simulate", words)


def _simulate(given: Given, options: SimulationOptions) -> ExitCode:
    """Raises InvalidArgument for a file that cannot be written, Interrupted on Ctrl-C, RingmillError when a
    worker was ended from outside."""
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


def _run(given: Given, options: SimulationOptions) -> bool:
    return _many(given, options) if given.seeds > 1 else _one(given, options)


def _one(given: Given, options: SimulationOptions) -> bool:
    bar = Bar("operations", options.operations)
    result = run_seed(given.seed, options, story=bool(given.trace or given.html), on_progress=bar.show)
    bar.end()
    _write(given.trace, "\n".join(result.story) + "\n")
    if given.html:
        _write(given.html, timeline_html(result))
    if given.history:
        _write(given.history, "\n".join(result.history.to_lines()) + "\n")
    if result.violations and not given.no_shrink:
        result = _smaller(result)
    _print(given, result)
    return result.is_ok


def _smaller(failing: SimulationResult) -> SimulationResult:
    print(f"seed {failing.seed} breaks {failing.violations[0].property}; shrinking …", file=sys.stderr)
    bar = Bar("runs at most", MOST_RUNS)
    found = shrink(failing, on_progress=bar.show)
    bar.end()
    if found.is_interrupted:
        _drop_quietly()
        print(f"shortening was interrupted after {found.runs} runs", file=sys.stderr)
    return found.result


def _many(given: Given, options: SimulationOptions) -> bool:
    summary = Summary(given.marks or has_to_meet_all(given.seeds, options))
    bar = Bar("seeds", given.seeds)
    seeds = range(given.seed, given.seed + given.seeds)
    try:
        for result in run_seeds(seeds, options, processes=given.processes):
            summary.add(result)
            bar.show(summary.seeds)
            if result.violations:
                _say(bar, f"seed {result.seed}: {summary.failed[result.seed]}")
    except KeyboardInterrupt as interruption:
        bar.end()
        raise _interrupted(
            f"{summary.seeds:,} of {given.seeds:,} seeds done, {len(summary.failed)} with a violation",
            f"go on with --seed {given.seed + summary.seeds} --seeds {given.seeds - summary.seeds}",
        ) from interruption
    except BrokenProcessPool as error:
        bar.end()
        raise _worker_gone(given, summary) from error
    bar.end()
    print(to_json(summary.document()) if given.is_json else summary.text())
    return summary.is_ok


def _worker_gone(given: Given, summary: Summary) -> RingmillError:
    first, last = given.seed + summary.seeds, given.seed + given.seeds - 1
    return RingmillError(
        f"a worker process was ended from outside; the kernel does so for want of memory: seeds {first} to "
        f"{last} have no verdict; {summary.seeds:,} are done, {len(summary.failed)} with a violation",
        hint=f"go on with --seed {first} --seeds {last - first + 1}, and fewer --processes",
    )


def _say(bar: Bar, line: str) -> None:
    bar.end()
    print(line, file=sys.stderr, flush=True)


def _interrupted(message: str, hint: str) -> Interrupted:
    _drop_quietly()
    return Interrupted(f"interrupted: {message}", hint=hint)


def _drop_quietly() -> None:
    """A run is dropped as it stands: what its half-done tasks say to that is noise."""
    sys.unraisablehook = lambda _: None
    warnings.simplefilter("ignore", RuntimeWarning)  # of coroutines that nobody awaits any more


def _print(given: Given, result: SimulationResult) -> None:
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
