"""Code of jobs that are over does not fill the disk, and that of open jobs is never dropped."""

import logging
from typing import Any

import pytest

from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.node.jobs.bundle_bounds import drop_excess
from ringmill.node.jobs.job_history import JobHistory
from ringmill.node.jobs.journal.cells import Cells
from ringmill.node.node_options import BundleOptions

NOTHING = BundleOptions(most_bytes=0, longest_s=0.0, least_s=0.0)


async def test_code_is_kept_on_all_nodes_while_a_job_needs_it_and_fetched_again_when_it_was_dropped(
    cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    nodes = list(cluster.nodes.values())

    async def look(keeping: int) -> None:
        for node in nodes:
            await drop_excess(node.bundles, JobHistory(Cells(node.registers), cluster.wall), NOTHING)
        assert sum(node.bundles.has(cluster.bundle) for node in nodes) == keeping

    cluster.write_input("one poison two\n", "three four\n")
    await cluster.submit(cluster.spec(mode="wait"))
    await cluster.until(lambda: all(node.bundles.has(cluster.bundle) for node in nodes))
    await look(keeping=3)
    cluster.wire.cut.add(NodeId("n2"))
    with pytest.raises(Unavailable):
        await look(keeping=3)
    cluster.wire.cut.clear()
    assert all(node.bundles.has(cluster.bundle) for node in nodes), "nobody knows whether a job needs it"

    (cluster.folder / "flag").touch()
    assert (await cluster.finish()).state == "SUCCEEDED"
    nodes.pop(0)
    await look(keeping=0)
    assert f"dropped bundles that no open job needs: 1, of {len(cluster.code)} bytes" in caplog.messages
    assert (await cluster.run(cluster.spec("again", out="again"))).state == "SUCCEEDED"
    assert cluster.parts("again") == cluster.parts()
