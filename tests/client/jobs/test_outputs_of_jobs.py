"""`job:ID` as an input."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from ringmill.client.jobs.job_values import JobState
from ringmill.client.jobs.outputs_of_jobs import with_outputs
from ringmill.cluster.errors import InvalidArgument

DONE = JobState("a-1", "m:a", "SUCCEEDED", "n1", "/out/a", 1.0, 0.0, (), (), 0, {}, {}, (), None)


def found(input: Any, **changes: Any) -> Any:
    async def status(job: str) -> JobState:
        assert job == "a-1"
        return replace(DONE, **changes)

    return asyncio.run(with_outputs(input, status))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("job:a-1", "/out/a"),
        (("b/*.txt", "job:a-1"), ["b/*.txt", "/out/a"]),
        (["left=job:a-1", "right=c=d.csv"], ["left=/out/a", "right=c=d.csv"]),
        ({"left": "job:a-1", "right": ["x"]}, {"left": "/out/a", "right": ["x"]}),
        ("kv:users", "kv:users"),
        ("/odd=job:a-1", "/odd=job:a-1"),
        (None, None),
    ],
)
def test_a_job_stands_for_its_output(given: Any, expected: Any) -> None:
    assert found(given) == expected


@pytest.mark.parametrize("changes", [{"state": "RUNNING"}, {"output": "kv:users"}])
def test_a_job_without_a_folder_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=r"input job:a-1: job a-1 .* no folder of output"):
        found("job:a-1", **changes)
