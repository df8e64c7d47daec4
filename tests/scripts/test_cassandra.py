"""Cassandra as a contestant, with scripts in place of Java: what it is told, asked, and whether it goes."""

from __future__ import annotations

import stat
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from stores.cassandra import Cassandra, client_request, node_settings, why_no_cassandra
from stores.contestants import Shape

SHAPE = Shape(nodes=3, replicas=3)
CASE = {
    "do": "run", "workload": "put", "distribution": "uniform", "value_bytes": 100, "in_flight": 64,
    "durability": None, "keys": 10, "seconds": 1.0, "warm_up_s": 0.1, "rate_per_s": 0.0, "way": "",
    "w": None, "r": None, "seed": 1,
}  # fmt: skip

# A node listens where its settings say; a client answers each line with all that it was asked so far.
JAVA = """
import json, os, pathlib, signal, socket, sys
arguments = sys.argv[1:]
if arguments[-1].endswith("CassandraDaemon"):
    (path,) = [one.partition("=file:")[2] for one in arguments if one.startswith("-Dcassandra.config=")]
    settings = json.loads(pathlib.Path(path).read_text())
    served = socket.create_server((settings["rpc_address"], settings["native_transport_port"]))
    signal.pause()
told = [json.loads(arguments[-1])]
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    told.append(json.loads(line))
    print(json.dumps({"told": told}), flush=True)
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is PATH, with `java` and `javac` in it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("java", JAVA), ("javac", "")):
        (folder / name).write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    folder = tmp_path / "cassandra"
    for name in ("lib/cassandra-all-5.0.2.jar", "driver/java-driver-core-4.17.0.jar"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
    return folder


def test_it_is_skipped_without_a_folder() -> None:
    assert "--cassandra DIR" in why_no_cassandra(None)


def test_it_is_skipped_without_java(programs: Path, jars: Path) -> None:
    assert why_no_cassandra(str(jars)) == ""
    (programs / "javac").unlink()
    assert why_no_cassandra(str(jars)) == "there is no program javac"
    (programs / "java").unlink()
    assert why_no_cassandra(str(jars)) == "there is no program java"


@pytest.mark.parametrize("part", ["lib/cassandra-all-5.0.2.jar", "driver/java-driver-core-4.17.0.jar"])
def test_it_is_skipped_when_a_jar_is_missing(programs: Path, jars: Path, part: str) -> None:
    (jars / part).unlink()
    why = why_no_cassandra(str(jars))
    assert str((jars / part).parent) in why and "VERSION.jar" in why


def test_nodes_sync_before_they_answer_and_share_the_ring_evenly(tmp_path: Path) -> None:
    settings = [node_settings(number, SHAPE, 20_000, tmp_path / str(number)) for number in range(3)]
    assert {one["commitlog_sync"] for one in settings} == {"batch"}
    tokens = [int(str(one["initial_token"])) for one in settings]
    assert tokens[0] == -(2**63)
    shares = [(after - token) / 2**64 for token, after in pairwise(tokens)]
    assert shares == pytest.approx([1 / 3, 1 / 3])
    ports = [one[name] for one in settings for name in ("storage_port", "native_transport_port")]
    assert sorted(map(int, map(str, ports))) == list(range(20_000, 20_006))
    assert len({str(one["seed_provider"]) for one in settings}) == 1


@pytest.mark.parametrize(("workload", "share"), [("put", 0.0), ("get", 1.0), ("a", 0.5), ("b", 0.95)])
def test_its_client_is_told_levels_by_their_names_and_a_share_of_gets(workload: str, share: float) -> None:
    told = client_request({**CASE, "workload": workload, "w": "all", "r": 1})
    assert (told["w"], told["r"], told["get_share"]) == ("ALL", "ONE", share)
    assert client_request(CASE)["w"] == client_request({"do": "load"})["r"] == "QUORUM"


@pytest.mark.parametrize(
    ("different", "why"),
    [
        ({}, ""),
        ({"workload": "f"}, "puts and gets"),
        ({"workload": "d"}, "puts and gets"),
        ({"distribution": "zipf"}, "uniform keys"),
        ({"rate_per_s": 500.0}, "closed loops"),
        ({"w": 4}, "no level 4"),
        ({"way": "mput"}, "single requests"),
        ({"durability": "buffered"}, "buffered was asked for"),
    ],
)
def test_what_it_cannot_do_is_said(jars: Path, different: dict[str, Any], why: str) -> None:
    said = Cassandra(jars, SHAPE, 10.0).why_not({**CASE, **different})
    assert why in said and bool(said) == bool(why)


def test_versions_and_the_warm_up_are_reported(jars: Path) -> None:
    told = Cassandra(jars, SHAPE, 12.0).settings
    for part in ("Cassandra 5.0.2", "driver 4.17.0", "RF 3", "12 s of load that does not count"):
        assert part in told


def test_it_warms_up_once_after_loading_and_leaves_nothing(programs: Path, jars: Path) -> None:
    with Cassandra(jars, SHAPE, 12.0) as store:
        store.ask({"do": "load", "keys": 10, "value_bytes": 100})
        store.ask({"do": "load", "keys": 10, "value_bytes": 1000})
        about, *told = store.ask(CASE)["told"]
        assert len(set(about["pids"])) == len(about["endpoints"].split(",")) == 3
        data = data_folders(about["pids"])
        assert len(data) == 3 and all(path.exists() for path in data)
    assert [one["do"] for one in told] == ["load", "run", "load", "run"]
    assert (told[1]["seconds"], told[1]["get_share"], told[3]["seconds"]) == (12.0, 0.5, 1.0)
    assert not [pid for pid in about["pids"] if psutil.pid_exists(pid)]
    assert not [path for path in data if path.exists()]


def data_folders(pids: list[int]) -> list[Path]:
    named = "-Dcassandra.storagedir="
    return [
        Path(one.removeprefix(named))
        for pid in pids
        for one in psutil.Process(pid).cmdline()
        if one.startswith(named)
    ]


def test_what_javac_refuses_ends_the_run_with_its_words(programs: Path, jars: Path) -> None:
    text = "import sys; sys.exit('no such class')"
    (programs / "javac").write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    with pytest.raises(SystemExit, match="no such class"), Cassandra(jars, SHAPE, 12.0):
        pass
