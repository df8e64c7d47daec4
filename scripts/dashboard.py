"""Writes examples/monitoring/dashboard.json, the dashboard for Grafana, from the panels below.

python scripts/dashboard.py     a test says when it has to be run again
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["PAGE", "dashboard"]

PAGE = Path(__file__).resolve().parent.parent / "examples" / "monitoring" / "dashboard.json"
SOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
WIDTH, HEIGHT, ROW_WIDTH = 8, 8, 24
BUILDS = '__name__=~"ringmill_build_info|ringmill_gateway_build_info"'
CHOSEN = 'job=~"$job",instance=~"$instance"'


class Panel(NamedTuple):
    """`queries` are pairs of an expression and a legend; $$ stands for the chosen nodes."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    kind: str = "timeseries"


def _quantile(share: float, metric: str, by: str) -> str:
    return f"histogram_quantile({share}, sum by (le, {by}) (rate(ringmill_{metric}_bucket{{$$}}[5m])))"


ROWS: Sequence[tuple[str, Sequence[Panel]]] = (
    (
        "Health",
        (
            Panel(
                "Partitions without quorum",
                "short",
                [('max(ringmill_partitions{$$,state="no_quorum"})', "")],
                "stat",
            ),
            Panel(
                "Partitions that lack an owner",
                "short",
                [('max(ringmill_partitions{$$,state="under_replicated"})', "")],
                "stat",
            ),
            Panel("Members up", "short", [("min(sum by (instance) (ringmill_member_up{$$}))", "")], "stat"),
        ),
    ),
    (
        "Requests",
        (
            Panel(
                "Requests",
                "reqps",
                [('sum by (verb) (rate(ringmill_requests_total{$$,outcome="ok"}[5m]))', "{{verb}}")],
            ),
            Panel("p99", "s", [(_quantile(0.99, "request_duration_seconds", "verb"), "{{verb}}")]),
            Panel(
                "Errors",
                "reqps",
                [
                    (
                        'sum by (verb, outcome) '
                        '(rate(ringmill_requests_total{$$,outcome!~"ok|not_found|conflict"}[5m]))',
                        "{{verb}} {{outcome}}",
                    )
                ],
            ),
            Panel(
                "Refused for want of room, and denied",
                "reqps",
                [
                    (
                        "sum by (instance) (rate(ringmill_overload_refusals_total{$$}[5m]))",
                        "full {{instance}}",
                    ),
                    ("sum by (instance) (rate(ringmill_denied_total{$$}[5m]))", "denied {{instance}}"),
                ],
            ),
            Panel(
                "Reads with a late answer",
                "reqps",
                [("sum by (outcome) (rate(ringmill_read_hedges_total{$$}[5m]))", "hedge {{outcome}}")],
            ),
            Panel("What is left off (0 to 5)", "short", [("ringmill_overload_step{$$}", "{{instance}}")]),
            Panel("Open sessions", "short", [("ringmill_sessions{$$}", "{{instance}} from {{from}}")]),
        ),
    ),
    (
        "Copies",
        (
            Panel(
                "Hints that wait",
                "short",
                [("sum by (target) (ringmill_hints_waiting{$$})", "for {{target}}")],
            ),
            Panel("Oldest hint", "s", [("ringmill_hint_oldest_seconds{$$}", "{{instance}}")]),
            Panel(
                "Hints delivered and dropped",
                "cps",
                [
                    ("sum(rate(ringmill_hints_delivered_total{$$}[5m]))", "delivered"),
                    ("sum(rate(ringmill_hints_dropped_total{$$}[5m]))", "dropped"),
                ],
            ),
            Panel(
                "Repair",
                "cps",
                [
                    ("sum(rate(ringmill_read_repairs_total{$$}[5m]))", "by reads"),
                    ("sum(rate(ringmill_comparisons_differing_total{$$}[5m]))", "partitions that differed"),
                ],
            ),
            Panel(
                "Since the last pass of comparing",
                "s",
                [("time() - ringmill_comparison_pass_timestamp_seconds{$$}", "{{instance}}")],
            ),
            Panel(
                "Moves",
                "short",
                [("sum by (instance, state) (ringmill_moves{$$})", "{{instance}} {{state}}")],
            ),
        ),
    ),
    (
        "Storage",
        (
            Panel("Keys", "short", [("ringmill_keys{$$}", "{{instance}}")]),
            Panel("Tables", "bytes", [("sum by (instance) (ringmill_tables_bytes{$$})", "{{instance}}")]),
            Panel("Free on the disk", "bytes", [("ringmill_disk_free_bytes{$$}", "{{instance}}")]),
            Panel(
                "Sync of the log, p99",
                "s",
                [(_quantile(0.99, "log_sync_duration_seconds", "instance"), "{{instance}}")],
            ),
            Panel(
                "Compaction",
                "Bps",
                [
                    ("sum(rate(ringmill_compaction_read_bytes_total{$$}[5m]))", "read"),
                    ("sum(rate(ringmill_compaction_written_bytes_total{$$}[5m]))", "written"),
                ],
            ),
            Panel(
                "Tables that wait for it",
                "short",
                [("ringmill_compaction_waiting_tables{$$}", "{{instance}}")],
            ),
        ),
    ),
    (
        "Jobs and processes",
        (
            Panel("Tasks", "short", [("sum by (state) (ringmill_tasks{$$})", "{{state}}")]),
            Panel(
                "Attempts that ended",
                "cps",
                [("sum by (outcome) (rate(ringmill_task_attempts_total{$$}[5m]))", "{{outcome}}")],
            ),
            Panel(
                "Lag of the event loop, p99",
                "s",
                [(_quantile(0.99, "event_loop_lag_seconds", "instance"), "{{instance}}")],
            ),
            Panel("CPU", "percentunit", [("rate(process_cpu_seconds_total{$$}[5m])", "{{instance}}")]),
            Panel("Memory", "bytes", [("process_resident_memory_bytes{$$}", "{{instance}}")]),
            Panel("Clock", "s", [("ringmill_clock_offset_seconds{$$}", "{{instance}}")]),
        ),
    ),
    (
        "Gateways",
        (
            Panel(
                "Requests",
                "reqps",
                [
                    (
                        "sum by (door, request) (rate(ringmill_gateway_requests_total{$$}[5m]))",
                        "{{door}} {{request}}",
                    )
                ],
            ),
            Panel("p99", "s", [(_quantile(0.99, "gateway_request_duration_seconds", "door"), "{{door}}")]),
            Panel(
                "Errors",
                "reqps",
                [
                    (
                        "sum by (door, status) "
                        '(rate(ringmill_gateway_requests_total{$$,status!~"ok|[23]..|404"}[5m]))',
                        "{{door}} {{status}}",
                    )
                ],
            ),
            Panel(
                "Refused",
                "cps",
                [
                    (
                        "sum by (door, reason) (rate(ringmill_gateway_refusals_total{$$}[5m]))",
                        "{{door}} {{reason}}",
                    )
                ],
            ),
            Panel(
                "Connections and places",
                "short",
                [
                    ("ringmill_gateway_connections{$$}", "{{instance}} {{door}}"),
                    ("ringmill_gateway_places_taken{$$}", "{{instance}} {{place}}"),
                ],
            ),
            Panel(
                "Reads from the cache",
                "cps",
                [("sum by (from) (rate(ringmill_gateway_cache_reads_total{$$}[5m]))", "{{from}}")],
            ),
        ),
    ),
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    """The document as Grafana takes it (Dashboards, New, Import)."""
    return {
        "__inputs": [
            {"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus"}
        ],
        "uid": "ringmill",
        "title": "Ringmill",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                _variable("job", f"label_values({{{BUILDS}}}, job)"),
                _variable("instance", f'label_values({{{BUILDS},job=~"$job"}}, instance)'),
            ]
        },
        "annotations": {
            "list": [
                _annotation("Change of the topology", "max(changes(ringmill_epoch{$$}[1m])) > 0"),
                _annotation("A node has started", "changes(process_start_time_seconds{$$}[1m]) > 0"),
            ]
        },
        "panels": list(_panels()),
    }


def _panels() -> Iterator[dict[str, Any]]:
    number = top = 0
    for title, panels in ROWS:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": ROW_WIDTH, "h": 1},
        }
        top += 1
        for at, panel in enumerate(panels):
            number += 1
            left = at * WIDTH % ROW_WIDTH
            place = {"x": left, "y": top + at * WIDTH // ROW_WIDTH * HEIGHT, "w": WIDTH, "h": HEIGHT}
            yield _panel(number, panel, place)
        top += -(-len(panels) * WIDTH // ROW_WIDTH) * HEIGHT


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": SOURCE,
                "expr": expression.replace("$$", CHOSEN),
                "legendFormat": legend,
            }
            for at, (expression, legend) in enumerate(panel.queries)
        ],
    }


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _annotation(name: str, expression: str) -> dict[str, Any]:
    return {
        "name": name,
        "enable": True,
        "datasource": SOURCE,
        "iconColor": "blue",
        "expr": expression.replace("$$", CHOSEN),
        "titleFormat": name,
    }


def dashboard_text() -> str:
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    PAGE.write_text(dashboard_text(), encoding="utf-8")
