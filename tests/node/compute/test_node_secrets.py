"""What a node calls its own: nothing of it is an input of a job, whoever submits it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringmill.cluster.adapters.processes.task_processes import TaskProcesses
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.messages.reach import TaskContainment
from ringmill.node.config import NodeConfig, TlsPaths, parse_arguments
from ringmill.node.jobs.job_step_runner import JobStepRunner
from ringmill.node.lifecycle import _containment


def test_data_token_and_key_are_no_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    config = NodeConfig(
        NodeId("n1"),
        "127.0.0.1:7101",
        "/srv/n1",
        token_file="/etc/ringmill/token",
        tls=TlsPaths("tls/n1.pem", "tls/n1.key", "tls/ca.pem"),
    )
    assert set(_containment(config).secrets) == {
        "/srv/n1", "/etc/ringmill/token", "/etc/ringmill/token.new", "/usr/tls/n1.key", "/usr/tls/n1.key.new",
    }  # fmt: skip


def test_keys_of_other_nodes_and_the_file_of_settings_are_no_inputs(tmp_path: Path) -> None:
    """Whoever has another node's key can pose as that one; the settings may hold a join token."""
    for name in ("n1.key", "n2.key", "n2.pem", "token"):
        (tmp_path / name).write_text("secret\n")
        (tmp_path / name).chmod(0o600)
    file = tmp_path / "n1.toml"
    file.write_text(
        f"""
        id = "n1"
        listen = "127.0.0.1:7101"
        data = "/srv/n1"
        token-file = "{tmp_path}/token"
        tls-cert = "{tmp_path}/n1.pem"
        tls-key = "{tmp_path}/n1.key"
        tls-ca = "{tmp_path}/ca.pem"
        """
    )
    containment = _containment(parse_arguments(["--config", str(file)]))
    for path in ("n1.key", "n2.key", "n1.toml"):
        spec = JobSpec(
            job="j-1", module="m", name="n", bundle_sha256="", inputs=(str(tmp_path / path),),
            output="/tmp/o", input_format="lines", output_format="tsv", reducers=1,
        )  # fmt: skip
        with pytest.raises(InvalidArgument, match="of the cluster itself"):
            containment.refuse_secrets(spec)
    containment.refuse_secrets(replace(spec, inputs=(str(tmp_path / "n2.pem"),)))


@pytest.fixture
async def processes() -> AsyncIterator[TaskProcesses]:
    made = TaskProcesses()
    yield made
    await made.close()


@pytest.mark.parametrize("make", [os.link, os.symlink])
async def test_a_link_to_the_token_is_no_input_and_no_side_data(
    processes: TaskProcesses, tmp_path: Path, make: Any
) -> None:
    (tmp_path / "inputs").mkdir()
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "words").write_text("a b\n")
    linked = str(tmp_path / "inputs" / "linked")
    make(tmp_path / "token", linked)
    named: list[Any] = [
        {"inputs": (linked,)}, {"inputs": (f"local://{linked}",)}, {"inputs": (f"{tmp_path}/inputs",)},
        {"inputs": (f"{tmp_path}/words",), "side": {"x": linked}},
    ]  # fmt: skip
    for number, fields in enumerate(named):
        spec = JobSpec(
            job="j-1", module="m", name="n", bundle_sha256="", output=f"{tmp_path}/out-{number}",
            input_format="lines", output_format="tsv", reducers=1, **fields,
        )  # fmt: skip
        for is_on in (True, False):
            containment = TaskContainment(is_on=is_on, secrets=(str(tmp_path / "token"),))
            plan = JobStepRunner(processes, containment).plan(spec)
            if is_on:
                with pytest.raises(InvalidArgument, match="linked is a link to a file of the cluster itself"):
                    await plan
            else:
                assert (await plan).splits != (), "what is named is an input otherwise"


async def test_an_output_that_a_link_leads_into_a_folder_of_the_cluster_is_refused(
    processes: TaskProcesses, tmp_path: Path
) -> None:
    (tmp_path / "prod").mkdir()
    (tmp_path / "mine").symlink_to(tmp_path / "prod")
    (tmp_path / "words").write_text("a b\n")
    spec = JobSpec(
        job="j-1", module="m", name="n", bundle_sha256="", inputs=(f"{tmp_path}/words",),
        output=f"{tmp_path}/mine/n4", input_format="lines", output_format="tsv", reducers=1,
    )  # fmt: skip
    containment = TaskContainment(is_on=True, secrets=(str(tmp_path / "prod"),))
    with pytest.raises(InvalidArgument, match="mine leads by a link into a folder of the cluster itself"):
        await JobStepRunner(processes, containment).plan(spec)
    assert os.listdir(tmp_path / "prod") == []
