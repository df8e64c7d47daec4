"""A job's description travels whole, or is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import pytest

from examples.grep import grep
from ringmill import job
from ringmill.cluster.errors import InvalidArgument, ProtocolMismatch
from ringmill.cluster.mapreduce.api.chains.stages import LinkOf
from ringmill.cluster.mapreduce.api.spec import JobSpec
from tests.traced_memory import TracedMemory

SPEC = JobSpec.of(
    grep,
    job="j-1",
    module="grep",
    name="grep",
    bundle_sha256="0" * 64,
    inputs=("/data/*.log", "/more/\udcff"),
    output="/out",
    params={"pattern": "x\udcfe"},
)


def test_a_spec_comes_back_as_it_was_paths_that_are_not_utf8_included() -> None:
    assert JobSpec.decode(SPEC.encode()) == SPEC
    assert (SPEC.reducers, SPEC.order) == (4, "input")
    assert SPEC.title == "grep:grep"


def test_a_description_that_is_too_large_is_refused_before_anything_is_made_of_it() -> None:
    large = b"\x92\x07\xdd\x00\x1f\xff\xfb" + b"\x80" * (2 << 20)
    with TracedMemory() as memory, pytest.raises(InvalidArgument, match="1048576 are allowed"):
        JobSpec.decode(large)
    assert memory.peak_bytes < 1 << 20


def test_a_chain_comes_back_with_its_links_or_not_at_all() -> None:
    link = LinkOf(replace(SPEC, name="grep.0").encode(), 3, "moved")
    chain = replace(SPEC, chain=(link, link))
    assert JobSpec.decode(chain.encode()) == chain
    for wrong in (link._replace(spec=chain.encode()), link._replace(spec=b"rubbish")):
        with pytest.raises(ProtocolMismatch):
            JobSpec.decode(replace(SPEC, chain=(wrong,)).encode())
    with pytest.raises(InvalidArgument, match="without rounds"):
        replace(SPEC, chain=(link._replace(most=0),))
    with pytest.raises(InvalidArgument, match="never the last link"):
        replace(SPEC, chain=(link, link._replace(asks=True)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"job": "No Spaces"}, "job id"),
        ({"module": "caf\udce9"}, "printable"),
        ({"name": "two\nlines"}, "printable"),
        ({"reducers": -1}, "reducers must be"),
        ({"collect_bytes": 1}, "collect_bytes is for records"),
        ({"inputs": ()}, "at least one input"),
        ({"inputs": ("memory://b/x",)}, "memory of one process"),
        ({"inputs": ("simplecache://b::local:///x",)}, "chains URLs"),
        ({"output": "relative"}, "absolute"),
        ({"bundle_sha256": "xyz"}, "64 hexadecimal"),
        ({"compression": "rar"}, "zstd, lz4, none"),
        ({"output_compression": "rar"}, "none, gzip, zstd"),
        ({"task_memory_mib": 63}, "task_memory_mib must be 64 to 1048576"),
        ({"keeps_states": True}, "keeps_states is for records by key"),
        ({"split_bytes": -1}, "split_bytes must be 0 to 17179869184"),
    ],
)
def test_values_out_of_range_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        replace(SPEC, **change)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"rubbish",
        msgpack.packb([2, {}]),
        msgpack.packb([4, {}]),
        msgpack.packb([4, {"job": "x"}]),
        msgpack.packb(7),
        SPEC.encode()[:-1],
        SPEC.encode().replace(b"\xa8reducers\x04", b"\xa8reducers\xc3"),
    ],
)
def test_rubbish_and_other_versions_are_no_spec(data: bytes) -> None:
    with pytest.raises(ProtocolMismatch):
        JobSpec.decode(data)


def test_a_parameter_the_job_does_not_know_is_refused_with_those_it_knows() -> None:
    with pytest.raises(InvalidArgument, match="no parameter patern; it has pattern"):
        JobSpec.of(
            grep,
            job="j",
            module="m",
            name="n",
            bundle_sha256="",
            inputs=("/i",),
            output="/o",
            params={"patern": ""},
        )


@pytest.mark.parametrize(
    ("said", "own", "meant"), [(None, 256, 256), (128, 256, 128), (0, 256, 0), (None, 0, 0)]
)
def test_a_run_has_the_memory_that_it_names_in_place_of_the_jobs_own(
    said: int | None, own: int, meant: int
) -> None:
    spec = JobSpec.of(
        replace(grep, task_memory_mib=own), job="j-1", module="grep", name="grep", bundle_sha256="0" * 64,
        inputs=("/data",), output="/out", task_memory_mib=said,
    )  # fmt: skip
    assert spec.task_memory_mib == meant


@pytest.mark.parametrize("split_mib", [-1, (1 << 14) + 1, 2.0, True])
def test_a_split_size_out_of_range_is_refused(split_mib: Any) -> None:
    with pytest.raises(InvalidArgument, match="split_mib must be 1 to 16384"):
        job(map=grep.map, params=grep.params, split_mib=split_mib)


@pytest.mark.parametrize("text", ["\ud800", "half \ud83d", "\udcc3\udca9", "\udc7f"])
def test_a_parameter_that_tasks_would_get_as_another_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="parameter pattern has surrogates"):
        JobSpec.of(
            grep, job="j-1", module="grep", name="grep", bundle_sha256="0" * 64, inputs=("/data",),
            output="/out", params={"pattern": text},
        )  # fmt: skip


def test_a_parameter_that_is_not_text_is_refused() -> None:
    wrong: Any = {"pattern": 3}
    with pytest.raises(InvalidArgument, match="parameter pattern is int 3, not a str"):
        JobSpec.of(
            grep, job="j-1", module="grep", name="grep", bundle_sha256="0" * 64, inputs=("/data",),
            output="/out", params=wrong,
        )  # fmt: skip


def test_another_text_that_cannot_travel_is_refused_as_it_is_packed() -> None:
    with pytest.raises(InvalidArgument, match="lone surrogate"):
        replace(SPEC, output="/out/\ud800").encode()
