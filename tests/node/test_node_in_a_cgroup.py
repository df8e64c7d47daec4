"""A node in a memory cgroup that others fill offers no slots until they have left it."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from ringmill.cluster.overload.node_memory import HOLD_S
from tests.memory_groups import memory_group
from tests.node.test_node_program import ROOT, running, until
from tests.ports import free_port

LIMIT = 512 << 20  # its sixteenth is 32 MiB
FILL = """
from ringmill.cluster.adapters.memory_limit import MemoryGauge
gauge, held = MemoryGauge(), []
while (left := min(each.left_bytes for each in gauge.read() if each.whose == "cgroup")) > 25 << 20:
    held.append(b"x" * min(left - (22 << 20), 32 << 20))
print("full", flush=True)
input()
"""


def metric(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def test_its_slots_go_and_come_with_the_memory_of_its_group(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-secret-of-a-cluster-of-one")
    token.chmod(0o600)
    with memory_group(LIMIT) as folder:
        enter = f"echo $$ > {folder}/cgroup.procs"
        port, served = free_port(), free_port()
        with running(
            tmp_path / "data",
            port,
            enter,
            "--slots",
            "2",
            "--metrics",
            str(served),
            "--token-file",
            str(token),
        ):
            assert metric(served, "ringmill_task_slots") == 2
            assert 100 << 20 < metric(served, "ringmill_memory_left_bytes") < LIMIT
            filler = subprocess.Popen(
                ["sh", "-c", f'{enter}; exec "$@"', "sh", sys.executable, "-c", FILL],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            with filler:
                assert filler.stdout is not None
                assert filler.stdout.readline() == b"full\n"
                until(lambda: metric(served, "ringmill_task_slots") == 0)
                assert metric(served, "ringmill_memory_left_bytes") < LIMIT // 16
                filler.communicate(b"\n", timeout=20)
            time.sleep(HOLD_S)
            until(lambda: metric(served, "ringmill_task_slots") == 2)
