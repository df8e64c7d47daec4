"""The dashboard and the alert rules ask for metrics that nodes serve: those in docs/monitoring.md."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from dashboard import PAGE, dashboard_text
from ringmill.client.doctor.cluster_checks import WAITING_TABLES
from ringmill.node.storage.engine_options import EngineOptions
from tests.client.observing.typed_commands import check_commands

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "examples" / "monitoring"
SELECTOR = re.compile(r"(ringmill_\w+)(?:\{([^}]*)\})?")


def served() -> dict[str, tuple[str, set[str]]]:
    """Kind and labels of each metric; a test on real nodes holds the page to what they serve."""
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(ringmill_\w+)` \| (\w+) \| (.*?) \|", page, re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def expressions(name: str) -> list[str]:
    text = (MONITORING / name).read_text(encoding="utf-8")
    if name.endswith(".yml"):
        return [rule["expr"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    document = json.loads(text)
    targets = [each for panel in document["panels"] for each in panel.get("targets", ())]
    return [each["expr"] for each in [*targets, *document["annotations"]["list"]]]


def test_the_dashboard_is_the_one_that_its_script_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == dashboard_text(), "run scripts/dashboard.py"


@pytest.mark.parametrize("name", ["dashboard.json", "alerts.yml"])
def test_each_metric_that_is_asked_for_exists(name: str) -> None:
    known = served()
    asked = [found for expression in expressions(name) for found in SELECTOR.findall(expression)]
    assert len(asked) > 10
    for metric, conditions in asked:
        kind, labels = known[metric.removesuffix("_bucket")]
        assert (kind == "histogram") == metric.endswith("_bucket"), metric
        given = set(re.findall(r"(\w+)\s*[=!]", conditions)) - {"job", "instance"}
        assert given <= labels, metric


@pytest.mark.parametrize("name", ["dashboard.json", "alerts.yml"])
def test_each_counter_is_asked_for_its_rate(name: str) -> None:
    for expression in expressions(name):
        for total in re.finditer(r"(\w+)\((?:process|ringmill)_\w+_total\b", expression):
            assert total[1] in {"rate", "increase"}, expression
        counters = re.findall(r"ringmill_\w+_total\b[^\[]*", expression)
        assert len(counters) == len(re.findall(r"ringmill_\w+_total\b(?:\{[^}]*\})?\[", expression))


@pytest.mark.parametrize("name", ["dashboard.json", "alerts.yml"])
def test_both_sides_of_a_set_operator_have_the_same_labels(name: str) -> None:
    """Else no element of one side is one of the other: `and` gives nothing, whatever goes on."""
    known = served()

    def labels(side: str) -> set[str]:
        metrics = (metric.removesuffix("_bucket") for metric, _ in SELECTOR.findall(side))
        return {label for metric in metrics for label in known[metric][1]}

    for expression in expressions(name):
        first, *others = re.split(r"\b(?:and|or|unless)\b", expression)
        for other in others:
            ignored = re.match(r"\s*ignoring\s*\(([\w, ]*)\)", other)
            differing = labels(first) ^ labels(other)
            assert differing <= set(re.findall(r"\w+", ignored[1] if ignored else "")), expression


def test_the_alert_of_comparing_goes_by_the_pace_that_a_node_was_given() -> None:
    """With --compare-every 3600 it would fire three quarters of the time."""
    (asked,) = [each for each in expressions("alerts.yml") if "comparison_pass" in each]
    assert asked.endswith("> clamp_min(3 * ringmill_comparison_every_seconds, 900)")


def test_alert_and_doctor_tell_of_compaction_where_writes_begin_to_be_slowed_down() -> None:
    slow = EngineOptions().slow_at_tables
    assert slow == WAITING_TABLES
    assert f"ringmill_compaction_waiting_tables >= {slow}" in expressions("alerts.yml")


def test_each_alert_says_what_to_do_by_commands_that_exist() -> None:
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    for rule in rules:
        assert rule["annotations"]["summary"] and rule["labels"]["severity"] in {"critical", "warning"}
        check_commands(rule["annotations"]["action"])


def test_prometheus_reads_the_rules_and_the_ports_of_a_local_cluster() -> None:
    settings = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    assert settings["rule_files"] == ["alerts.yml"]
    (job,) = settings["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [f"127.0.0.1:{port}" for port in range(9101, 9106)]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool")
def test_promtool_takes_the_configuration_and_the_rules() -> None:
    for line in (["config", "prometheus.yml"], ["rules", "--lint=all", "--lint-fatal", "alerts.yml"]):
        checked = subprocess.run(
            ["promtool", "check", *line], cwd=MONITORING, capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
