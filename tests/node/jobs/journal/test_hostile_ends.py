"""Whatever a job's code says, its end is told, and its coordinator goes on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from ringmill.cluster.errors import InvalidArgument, Overloaded
from ringmill.cluster.mapreduce.summary.job_flow import JobFlow
from ringmill.node.jobs import views
from ringmill.node.jobs.journal import job_index
from ringmill.node.jobs.journal.cells import INDEX, Cells
from ringmill.node.jobs.journal.job_index import listed_jobs
from tests.node.jobs.registers import Registers


def raise_flag(cluster: Any) -> None:
    (cluster.folder / "flag").write_text("")


async def test_an_error_with_half_a_pair_of_surrogates_is_told(cluster: Any) -> None:
    cluster.write_input("poison\n")
    view = await cluster.run(cluster.spec(mode="raise surrogates"))
    assert view.state == "FAILED" and "half a \\ud83d" in view.why
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


async def test_the_list_of_jobs_has_a_bound_that_is_told(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.write_input("poison\n")
    long = replace(cluster.spec("job-0"), name="n" * 9000)
    with pytest.raises(InvalidArgument, match="bytes together"):
        await cluster.submit(long)
    monkeypatch.setattr(job_index, "_MAX_OPEN_BYTES", 600)
    await cluster.submit(cluster.spec(mode="wait"))
    with pytest.raises(Overloaded, match="1 jobs are open, as many as"):
        await cluster.submit(cluster.spec("job-2", out="more"))
    await cluster.submit(cluster.spec(mode="wait"))  # the same once more
    raise_flag(cluster)
    assert (await cluster.finish()).state == "SUCCEEDED"
    assert (await cluster.run(cluster.spec("job-2", out="more"))).state == "SUCCEEDED"


async def test_what_no_register_takes_is_told_and_not_repeated() -> None:
    registers = Registers()

    def refuse(key: bytes) -> None:
        raise InvalidArgument("the value has 1048577 bytes, the limit is 1048576 bytes")

    registers.before_write = refuse
    with pytest.raises(InvalidArgument, match="1048577 bytes"):
        async with asyncio.timeout(5):
            await Cells(registers).write(INDEX, b"x", 0)
