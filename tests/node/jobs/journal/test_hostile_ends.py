"""Whatever a job's code says, its end is told, and its coordinator goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ringmill.cluster.mapreduce.summary.job_flow import JobFlow
from ringmill.node.jobs import views
from ringmill.node.jobs.journal.cells import INDEX
from ringmill.node.jobs.journal.job_index import listed_jobs


async def test_an_error_with_half_a_pair_of_surrogates_is_told(cluster: Any) -> None:
    cluster.write_input("poison\n")
    view = await cluster.run(cluster.spec(mode="raise surrogates"))
    assert view.state == "FAILED" and json.loads('"half a \\ud83d"') in view.why
    logs = await cluster.nodes["n1"].coordinator.logs("job-1", "")
    assert b"ValueError: half a \\ud83d" in logs[0].output


async def test_a_line_of_log_with_half_a_pair_of_surrogates_is_kept(cluster: Any) -> None:
    cluster.write_input("poison\n")
    view = await cluster.run(cluster.spec(mode="log surrogates"))
    assert view.state == "SUCCEEDED"
    logs = await cluster.nodes["n1"].coordinator.logs("job-1", "map-0")
    assert [log.output for log in logs] == [b"half a \\ud83d\n"]


async def test_figures_that_cannot_be_kept_end_no_coordinator(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "flow_of", lambda _: JobFlow(1 << 64))
    cluster.write_input("one two\n")
    view = await cluster.run(cluster.spec())
    assert view.state == "SUCCEEDED"
    _, rows = listed_jobs((await cluster.nodes["n1"].coordinator._cells.look(INDEX)).value)
    assert [(row.is_over, row.state, row.records_in) for row in rows.values()] == [(True, "SUCCEEDED", 0)]
    assert rows["job-1"].entries > 0
    monkeypatch.undo()
    assert (await cluster.run(cluster.spec("job-2", out="more"))).state == "SUCCEEDED"
