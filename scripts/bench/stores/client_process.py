"""The handle of a contestant's client process: one line out, one line back."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from local_cluster import ROOT, python_of

__all__ = ["ClientProcess", "LineProcess", "our_environment"]

SCRIPTS = Path(__file__).resolve().parent.parent


def our_environment(checkout: Path = ROOT) -> dict[str, str]:
    """In which a Python finds `ringmill` in a checkout, and the modules of these benchmarks."""
    path = os.pathsep.join([str(checkout), str(SCRIPTS)])
    return {**os.environ, "PYTHONPATH": path, "GRPC_VERBOSITY": "NONE"}


class LineProcess:
    """A connected client of one store, in a process of its own.  Leaving ends it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> LineProcess:
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Raises SystemExit when the client has ended, which has said why on stderr."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the client of {self._command[-1]} has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


class ClientProcess(LineProcess):
    """One in Python, of this checkout or another one."""

    def __init__(
        self,
        store: str,
        endpoints: str,
        pids: Sequence[int],
        *,
        checkout: Path = ROOT,
        transport: str = "grpc",
        credentials: Mapping[str, str] | None = None,
    ) -> None:
        """`credentials` are further arguments of `ringmill.connect`."""
        about: dict[str, Any] = {
            "store": store, "endpoints": endpoints, "pids": list(pids), "transport": transport,
            "credentials": dict(credentials or {}),
        }  # fmt: skip
        command = [str(python_of(checkout)), "-P", "-m", "stores.client_main", json.dumps(about)]
        super().__init__(command, our_environment(checkout))
