"""What a trace of a request shows: three real nodes that record, and a program that does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import ringmill
from ringmill.client.routing import directory, router, window
from ringmill.client.testing.scratch_cluster import ScratchCluster

TOLD_WITHIN_S = 30.0  # nodes write what they have recorded once a second
KEY, VALUE = b"a-key-that-nobody-may-read", b"a-value-that-nobody-may-read"

JOB = """
import os
from collections.abc import Iterator
from ringmill import FileInput, FileOutput, job

def variable(offset: int, line: str) -> Iterator[tuple[str, str]]:
    yield line, os.environ.get("TRACEPARENT", "none")

def same(line: str, told: Iterator[str]) -> Iterator[tuple[str, str]]:
    for each in told:
        yield line, each

told = job(map=variable, reduce=same, input=FileInput(format="lines"), output=FileOutput(format="tsv"))
"""


class Traces:
    """The spans of one program and of the nodes."""

    def __init__(self, folder: Path, program: InMemorySpanExporter) -> None:
        self._folder = folder
        self._program = program

    def now(self) -> list[dict[str, Any]]:
        """All that have ended and are written."""
        written = [path.read_text().splitlines() for path in sorted(self._folder.glob("*.jsonl"))]
        ended = [span.to_json() for span in self._program.get_finished_spans()]
        return [json.loads(line) for line in [*ended, *(line for lines in written for line in lines)]]

    def tree(self, is_whole: Callable[[list[str]], bool]) -> list[str]:
        """The spans of the program's last trace as "PARENT > NAME", once they are written."""
        root = self._program.get_finished_spans()[-1].context
        assert root is not None
        until, names = time.monotonic() + TOLD_WITHIN_S, list[str]()
        while time.monotonic() < until:
            spans = [each for each in self.now() if int(each["context"]["trace_id"], 16) == root.trace_id]
            by_id = {each["context"]["span_id"]: each["name"] for each in spans}
            names = sorted(f"{by_id.get(each['parent_id'])} > {each['name']}" for each in spans)
            if is_whole(names):
                return names
            time.sleep(0.1)
        raise AssertionError(f"not told within {TOLD_WITHIN_S:g} s, only {names}")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScratchCluster, Path]]:
    folder = tmp_path_factory.mktemp("traces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RINGMILL_TRACES", f"file:{folder}")
        patch.setenv("RINGMILL_TRACE_ONE_IN", "0")
        with ScratchCluster(nodes=3) as cluster:
            yield cluster, folder


@pytest.fixture(autouse=True)
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is not sent to a second node as well when the first one is silent for a moment."""
    for module in (directory, router, window):
        monkeypatch.setattr(module, "STAGGER_S", TOLD_WITHIN_S)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """This program traces, as long as the test runs."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


@pytest.fixture
def traces(recording: tuple[ScratchCluster, Path], program: InMemorySpanExporter) -> Traces:
    return Traces(recording[1], program)


@pytest.mark.parametrize("session", [True, False])
async def test_a_put_has_one_root_and_its_coordinator_and_replicas_below_it(
    recording: tuple[ScratchCluster, Path], traces: Traces, session: bool
) -> None:
    cluster, _ = recording
    async with ringmill.connect(cluster.endpoints, token=cluster.token, session=session) as db:
        with trace.get_tracer("app").start_as_current_span("app"):
            await db.put(KEY, VALUE, w=3)
    found = traces.tree(lambda names: len(names) >= 6)
    assert found == [
        "None > app",
        "app > ringmill.put",
        "ringmill.kv.put > ringmill.replica.apply",
        "ringmill.kv.put > ringmill.replica.apply",
        "ringmill.kv.put > ringmill.replica.apply",
        "ringmill.put > ringmill.kv.put",
    ]


def test_all_of_a_batch_is_below_one_span_of_the_thread_that_waits_for_it(
    recording: tuple[ScratchCluster, Path], traces: Traces
) -> None:
    cluster, _ = recording
    with cluster.client() as db, trace.get_tracer("app").start_as_current_span("app"):
        db.mput({f"batch-{number}": VALUE for number in range(40)})
    found = traces.tree(lambda names: names.count("ringmill.mput > ringmill.kv.put") >= 40)
    assert found.count("app > ringmill.mput") == 1
    assert found.count("ringmill.mput > ringmill.kv.put") == 40
    app = trace.get_tracer("app").start_as_current_span("app")
    with cluster.client() as db, app, db.pipeline() as batch:
        for number in range(10):
            batch.get(f"batch-{number}")
    found = traces.tree(lambda names: names.count("ringmill.pipeline > ringmill.kv.get") >= 10)
    assert found.count("app > ringmill.pipeline") == 1


async def test_spans_say_who_and_in_which_keyspace_and_never_which_key(
    recording: tuple[ScratchCluster, Path], traces: Traces
) -> None:
    cluster, folder = recording
    async with ringmill.connect(cluster.endpoints, token=cluster.token) as db:
        await db.put(KEY, VALUE, w=2)
        await db.get(KEY, r=2)
    traces.tree(lambda names: "ringmill.get > ringmill.kv.get" in names)
    [root] = [each for each in traces.now() if each["name"] == "ringmill.get"][-1:]
    trace_id = root["context"]["trace_id"]
    coordinated = next(
        each
        for each in traces.now()
        if each["name"] == "ringmill.kv.get" and each["context"]["trace_id"] == trace_id
    )
    notes = coordinated["attributes"]
    assert notes.pop("ringmill.node") in cluster.nodes
    assert notes == {
        "db.system.name": "ringmill",
        "db.operation.name": "get",
        "db.namespace": "default",
        "ringmill.r": "2",
    }
    told = json.dumps(traces.now())
    assert KEY.decode() not in told and VALUE.decode() not in told
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


async def test_the_stages_and_tasks_of_a_job_are_below_its_submission(
    recording: tuple[ScratchCluster, Path], traces: Traces, tmp_path: Path
) -> None:
    cluster, _ = recording
    (tmp_path / "in").write_text("one\ntwo\n")
    (tmp_path / "told_job.py").write_text(JOB)
    async with ringmill.connect(cluster.endpoints, token=cluster.token) as db:
        with trace.get_tracer("app").start_as_current_span("app"):
            await db.jobs.run(
                f"{tmp_path}/told_job.py:told", input=tmp_path / "in", output=tmp_path / "out", reducers=1
            )
    found = traces.tree(
        lambda names: (
            "ringmill.jobs.submit > ringmill.job" in names
            and names.count("ringmill.stage > ringmill.task") == 2
        )
    )
    below = [each for each in found if each.startswith(("ringmill.job >", "ringmill.stage >"))]
    assert below == [*["ringmill.job > ringmill.stage"] * 2, *["ringmill.stage > ringmill.task"] * 2]
    tasks = [each for each in traces.now() if each["name"] == "ringmill.task"]
    [mapped] = [each for each in tasks if each["attributes"]["ringmill.stage"] == "map"]
    ids = mapped["context"]["trace_id"][2:], mapped["context"]["span_id"][2:]
    lines = next((tmp_path / "out").glob("part-*")).read_text().splitlines()
    told_to = [line.split("\t")[1].split("-")[1:3] for line in lines]
    assert told_to == [[*ids]] * 2, "TRACEPARENT of its process names the attempt"


async def test_a_program_that_does_not_record_sends_nothing(
    recording: tuple[ScratchCluster, Path], monkeypatch: pytest.MonkeyPatch, traces: Traces
) -> None:
    cluster, _ = recording
    program = trace.get_tracer_provider()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(sampler=ALWAYS_OFF))
    async with ringmill.connect(cluster.endpoints, token=cluster.token) as db:
        await db.delete(KEY, w=3)
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", program)
        for number in range(12):  # by each node as the coordinator, which writes its spans in their order
            await db.put(b"after-%d" % number, VALUE, w=3)
            traces.tree(lambda names: names.count("ringmill.kv.put > ringmill.replica.apply") >= 3)
    coordinators = {
        each["attributes"]["ringmill.node"] for each in traces.now() if each["name"] == "ringmill.kv.put"
    }
    assert coordinators == set(cluster.nodes)
    assert not [each for each in traces.now() if "delete" in each["name"]]
