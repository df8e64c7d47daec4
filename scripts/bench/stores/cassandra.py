"""Cassandra to measure beside: nodes on loopback that are started from a folder of jars, its Java driver.

    DIR/lib/      org.apache.cassandra:cassandra-all and all that it depends on
    DIR/driver/   com.datastax.oss:java-driver-core and all that it depends on

Nothing of it is in this repository but the source of a load client, which javac compiles for each run.
Virtual machines compile what is hot while they run, so load that does not count comes before the first case.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from local_cluster import free_ports
from ringmill.client.bench.workloads import GET, PUT, WORKLOADS
from stores.client_process import LineProcess
from stores.contestants import Shape
from stores.processes import Processes, folder_of, program

__all__ = ["Cassandra", "client_request", "node_settings", "why_no_cassandra"]

NODE_JAR, DRIVER_JAR = "cassandra-all", "java-driver-core"
LOAD_SOURCE: Final = Path(__file__).with_name("CassandraLoad.java")
READY_S = 120.0  # three virtual machines that start at once on two cores need 35 s
WARMING_IN_FLIGHT = 256
TIMEOUT = "10s"  # of nodes: while they are cold, some requests take longer than the usual 2 s
NODE_HEAP, CLIENT_HEAP = ("-Xms512m", "-Xmx1g"), ("-Xmx512m",)
LEVELS: Final[Mapping[str | int | None, str]] = {
    None: "QUORUM", "one": "ONE", "quorum": "QUORUM", "all": "ALL", 1: "ONE", 2: "TWO", 3: "THREE",
}  # fmt: skip

# Packages of Java's modules that Cassandra reaches into.  Source: its conf/jvm17-server.options, without JMX.
EXPORTED = ("jdk.internal.misc", "jdk.internal.ref", "sun.nio.ch")
OPENED = (
    "java.io", "java.lang", "java.lang.module", "java.lang.reflect", "java.util", "jdk.internal.loader",
    "jdk.internal.math", "jdk.internal.module", "jdk.internal.ref", "jdk.internal.reflect",
    "jdk.internal.util.jar", "sun.nio.ch",
)  # fmt: skip

# Without a file of its own logback would write every debug message to stdout.
LOGBACK = """<configuration>
  <appender name="FILE" class="ch.qos.logback.core.FileAppender">
    <file>{file}</file>
    <encoder><pattern>%date %level %logger{{20}} %msg%n%ex</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="FILE"/></root>
</configuration>
"""


def why_no_cassandra(folder: str | None) -> str:
    """Why it cannot take part; "" when it can."""
    if folder is None:
        return "no folder was named; --cassandra DIR names one (docs/benchmarks.md)"
    for name in ("java", "javac"):
        if program(name, None) is None:
            return f"there is no program {name}"
    for part, jar in (("lib", NODE_JAR), ("driver", DRIVER_JAR)):
        if not _version(Path(folder) / part, jar):
            return f"there is no {jar}-VERSION.jar in {Path(folder) / part}"
    return ""


def node_settings(number: int, shape: Shape, port: int, folder: Path) -> dict[str, object]:
    """What cassandra.yaml says of one node: an even share of the ring, puts synced before they are answered.

    `port` is the first of twice as many as there are nodes: those for each other, then those for clients.
    """
    seeds = ",".join(f"127.0.0.1:{port + node}" for node in range(shape.nodes))
    return {
        "cluster_name": "bench",
        "num_tokens": 1,
        "initial_token": str(-(2**63) + number * 2**64 // shape.nodes),
        "auto_bootstrap": False,  # the tokens are fixed, so that all can start at once
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "endpoint_snitch": "SimpleSnitch",
        "seed_provider": [
            {
                "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
                "parameters": [{"seeds": seeds}],
            }
        ],
        "listen_address": "127.0.0.1",
        "rpc_address": "127.0.0.1",
        "storage_port": port + number,
        "native_transport_port": port + shape.nodes + number,
        "commitlog_sync": "batch",
        "write_request_timeout": TIMEOUT,
        "read_request_timeout": TIMEOUT,
        "data_file_directories": [str(folder / "data")],
        "commitlog_directory": str(folder / "commitlog"),
        "saved_caches_directory": str(folder / "caches"),
        "hints_directory": str(folder / "hints"),
        "cdc_raw_directory": str(folder / "cdc"),
    }


def client_request(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What CassandraLoad.java is asked for: levels by Cassandra's names, a workload by its share of gets."""
    levels = {name: LEVELS[asked.get(name)] for name in ("w", "r")}
    share = {} if asked["do"] == "load" else {"get_share": WORKLOADS[asked["workload"]].mix.get(GET, 0.0)}
    return {**asked, **levels, **share}


class Cassandra(Processes):
    """A cluster of Cassandra: QUORUM for puts and gets, a put synced by each node that acknowledges it."""

    name = "cassandra"

    def __init__(self, folder: Path, shape: Shape, warm_up_s: float) -> None:
        super().__init__(folder)
        self._shape = shape
        self._warm_up_s = warm_up_s
        self._is_warm = False
        self._classes = folder
        self.settings = (
            f"Cassandra {_version(folder / 'lib', NODE_JAR)}, {shape.nodes} nodes, RF {shape.replicas}, "
            f"QUORUM, commitlog_sync batch, Java driver {_version(folder / 'driver', DRIVER_JAR)}; "
            f"{warm_up_s:g} s of load that does not count warmed its virtual machines"
        )

    def __enter__(self) -> Cassandra:
        folder, nodes = folder_of("cassandra"), self._shape.nodes
        port = free_ports(2 * nodes)
        endpoints = ",".join(f"127.0.0.1:{port + nodes + number}" for number in range(nodes))
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self._classes = folder / "classes"
            self._compile()
            commands = [self._node_command(number, port, folder / f"n{number}") for number in range(nodes)]
            try:
                self._start(commands, endpoints, ready_s=READY_S)
            except SystemExit as error:
                raise SystemExit(f"{error}\n{_ends_of_logs(folder)}") from None
            processes, self._stack = self._stack, stack.pop_all()
            self._stack.push(processes)
        return self

    def why_not(self, case: dict[str, Any]) -> str:
        if case["rate_per_s"] or case["distribution"] != "uniform":
            return "its client here knows closed loops and uniform keys"
        if not {GET, PUT}.issuperset(WORKLOADS[case["workload"]].mix):
            return "its client here knows puts and gets"
        if unknown := [str(case[name]) for name in ("w", "r") if case[name] not in LEVELS]:
            return f"it has no level {' or '.join(unknown)}"
        return super().why_not(case)

    def ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        answer = super().ask(client_request(asked))
        if asked["do"] == "load" and not self._is_warm:
            self._is_warm = True
            warming = {
                "do": "run", "workload": "a", "keys": asked["keys"], "value_bytes": asked["value_bytes"],
                "in_flight": WARMING_IN_FLIGHT, "seconds": self._warm_up_s, "warm_up_s": 0.0, "seed": 0,
            }  # fmt: skip
            super().ask(client_request(warming))
        return answer

    def _compile(self) -> None:
        """Raises SystemExit when the load client does not fit the driver."""
        jars = str(self._path / "driver" / "*")
        command = ["javac", "-cp", jars, "-d", str(self._classes), str(LOAD_SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"javac {LOAD_SOURCE.name} exited {done.returncode}:\n{done.stderr}")

    def _node_command(self, number: int, port: int, folder: Path) -> list[str]:
        """Its files are written; the folder is new."""
        folder.mkdir()
        settings, logback, libraries = folder / "cassandra.yaml", folder / "logback.xml", self._path / "lib"
        # JSON is YAML.
        settings.write_text(json.dumps(node_settings(number, self._shape, port, folder)), encoding="utf-8")
        logback.write_text(LOGBACK.format(file=folder / "system.log"), encoding="utf-8")
        return [
            "java",
            *NODE_HEAP,
            *(f"--add-exports=java.base/{package}=ALL-UNNAMED" for package in EXPORTED),
            *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED),
            "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED",
            *(f"-javaagent:{jar}" for jar in sorted(libraries.glob("jamm-*.jar"))),  # measures memtables
            "-Dio.netty.tryReflectionSetAccessible=true",
            f"-Dlogback.configurationFile={logback}",
            f"-Dcassandra.config=file:{settings}",
            f"-Dcassandra.storagedir={folder}",
            "-Dcassandra-foreground=yes",
            "-Dcassandra.ring_delay_ms=1000",
            "-Dcassandra.skip_wait_for_gossip_to_settle=0",  # the client waits until each node reaches all
            "-cp",
            str(libraries / "*"),
            "org.apache.cassandra.service.CassandraDaemon",
        ]

    def _client_of(self, endpoints: str, pids: Sequence[int]) -> LineProcess:
        about = {"endpoints": endpoints, "pids": list(pids), "replicas": self._shape.replicas}
        classes = f"{self._classes}:{self._path / 'driver' / '*'}"
        return LineProcess(["java", *CLIENT_HEAP, "-cp", classes, "CassandraLoad", json.dumps(about)])


def _version(folder: Path, artifact: str) -> str:
    """That of the jar of an artifact; "" when there is none."""
    found = sorted(folder.glob(f"{artifact}-[0-9]*.jar"))
    return found[0].stem.removeprefix(f"{artifact}-") if found else ""


def _ends_of_logs(folder: Path) -> str:
    logs = sorted(folder.glob("n*/system.log"))
    return "\n".join(line for log in logs for line in log.read_text(encoding="utf-8").splitlines()[-5:])
