"""What `ringmill cluster chaos` prints: a line that tells how the run goes on, and the report."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ringmill.client.cli.console import output
from ringmill.client.cli.console.settings import Settings
from ringmill.client.local.local_state import LocalCluster

if TYPE_CHECKING:
    from ringmill.client.chaos.chaos_load import Judged
    from ringmill.client.chaos.chaos_run import ChaosRun
    from ringmill.client.chaos.fault_schedule import FaultStep
    from ringmill.client.chaos.load_tally import LoadTally

__all__ = ["ChaosLine", "show_report"]

MOST_BREACHES = 20  # that are told of each checker


class ChaosLine:
    """A line on stderr that is live on a terminal, else one for each fault.

    It is an Onlooker (client/chaos/chaos_run.py).
    """

    def __init__(self, for_s: float) -> None:
        self._for_s = for_s
        self._is_live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._is_open = False

    def tick(self, at_s: float, doing: str, tally: LoadTally) -> None:
        if self._is_live:
            sys.stderr.write(f"\r{at_s:5.1f} of {self._for_s:g} s  {doing}; {_figures(tally)}\x1b[K")
            sys.stderr.flush()
            self._is_open = True

    def stepped(self, at_s: float, step: FaultStep, tally: LoadTally) -> None:
        if not self._is_live:
            output.note(f"{at_s:5.1f} s  {step}; {_figures(tally)}")

    def over(self) -> None:
        if self._is_open:
            sys.stderr.write("\n")
            self._is_open = False


def show_report(
    settings: Settings, cluster: LocalCluster, run: ChaosRun, verdicts: Sequence[Judged], witness: str
) -> None:
    """Print what was done and seen; `witness` is the path of the history of what was broken, or ""."""
    document = _document(cluster, run, verdicts, witness)
    if settings.output == "json":
        output.show(settings, document, (), ())
        return
    output.fields(settings, document, _rows(document))


def _document(
    cluster: LocalCluster, run: ChaosRun, verdicts: Sequence[Judged], witness: str
) -> dict[str, Any]:
    """Times in seconds, but for latencies in milliseconds, which are of requests that were answered."""
    tally, options = run.tally, run.options
    return {
        "cluster": cluster.name,
        "seed": options.seed,
        "seconds": round(run.lasted_s, 1),
        "at_once": options.at_once,
        "spare": run.spare,
        "faults": run.faults,
        "skipped": run.skipped,
        "operations": tally.requests,
        "errors": dict(tally.unexpected),
        "expected_errors": dict(tally.expected),
        "latency_ms": {
            "p50": round(tally.percentile_ms(0.5), 1),
            "p99": round(tally.percentile_ms(0.99), 1),
            "max": round(tally.latencies.max_ns / 1e6, 1),
        },
        "worst_gap_s": round(tally.worst_gap_s, 2),
        "worst_gap_at_s": round(max(0.0, tally.worst_gap_at - run.began), 1),
        "outages": [
            {
                "at_s": round(outage.at_s, 1),
                "node": outage.node,
                "fault": outage.kind,
                "away_s": round(outage.away_s, 2),
                "start_s": None if outage.start_s is None else round(outage.start_s, 2),
            }
            for outage in run.outages
        ],
        "checks": [
            {
                "checker": judged.checker,
                "held": judged.has_held,
                "looked_at": judged.looked_at,
                "breach_count": len(judged.breaches),
                "breaches": list(judged.breaches[:MOST_BREACHES]),
            }
            for judged in verdicts
        ],
        "verdict": "held" if all(judged.has_held for judged in verdicts) else "broken",
        "witness": witness or None,
    }


def _rows(document: Mapping[str, Any]) -> list[tuple[str, object]]:
    latency = document["latency_ms"]
    skipped = (
        f"; {document['skipped']} skipped, as nodes took longer to come back" if document["skipped"] else ""
    )
    rows: list[tuple[str, object]] = [
        ("seed", document["seed"]),
        ("faults", f"{_counts(document['faults'])} in {document['seconds']} s{skipped}"),
        ("operations", f"{document['operations']:,}"),
        ("errors", _counts(document["errors"])),
    ]
    if document["at_once"] > document["spare"]:
        rows.append(("expected errors", _counts(document["expected_errors"])))
    rows += [
        ("latency", f"p50 {latency['p50']} ms, p99 {latency['p99']} ms, slowest {latency['max']} ms"),
        (
            "worst gap",
            f"{document['worst_gap_s']} s without an answer, from {document['worst_gap_at_s']} s on",
        ),
    ]
    for outage in document["outages"]:
        start = "" if outage["start_s"] is None else f", {outage['start_s']} s of it from its start on"
        back = f"{outage['fault']} at {outage['at_s']:.1f} s, served again after {outage['away_s']} s{start}"
        rows.append((outage["node"], back))
    for check in document["checks"]:
        held = "held" if check["held"] else f"BROKEN, {check['breach_count']:,} times"
        rows.append((check["checker"], f"{held}: {check['looked_at']}"))
        rows += [("", breach) for breach in check["breaches"]]
    rows.append(("verdict", document["verdict"]))
    return [*rows, ("history", document["witness"])] if document["witness"] else rows


def _figures(tally: LoadTally) -> str:
    return f"{tally.requests:,} operations, {tally.errors} errors, p99 {tally.percentile_ms(0.99):.0f} ms"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"
