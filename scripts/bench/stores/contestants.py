"""The stores that take turns: each is started for the run, told apart by name, and stopped at its end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Protocol

from local_cluster import ROOT, BenchCluster
from stores.client_process import ClientProcess, LineProcess
from stores.frame_counts import NodeCounts, counting_environment

__all__ = ["Contestant", "RingmillNodes", "Shape"]


@dataclass(frozen=True, slots=True)
class Shape:
    """How many nodes, and how many of them hold a key."""

    nodes: int
    replicas: int


class Contestant(Protocol):
    """A store that runs while it is entered."""

    name: str
    settings: str  # what it promises, in words

    def __enter__(self) -> Contestant: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def why_not(self, case: dict[str, Any]) -> str:
        """Why it cannot do a case; "" when it can."""
        ...

    @property
    def why_no_scans(self) -> str:
        """Why it cannot do the scans of YCSB's workload E; "" when it can."""
        ...

    def ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What its client process answers."""
        ...


class RingmillNodes:
    """A cluster of this checkout, or of another one."""

    def __init__(
        self,
        shape: Shape,
        *,
        name: str = "ringmill",
        checkout: Path = ROOT,
        transport: str = "grpc",
        counts_frames: bool = False,
    ) -> None:
        self.name = name if transport == "grpc" else f"{name} {transport}"
        self.settings = f"{shape.nodes} nodes, N={shape.replicas}, {transport}"
        self._shape = shape
        self._checkout = checkout
        self._transport, _, self._tls = transport.partition("+")
        self._client: LineProcess | None = None
        self._counts_frames = counts_frames
        self._counts: NodeCounts | None = None
        self._stack = ExitStack()

    def __enter__(self) -> RingmillNodes:
        options = ["--replicas", str(self._shape.replicas)]
        if self._transport != "grpc":  # a checkout that knows no other knows no option either
            options += ["--client-transport", self._transport]
            options += [] if self._tls else ["--peer-transport", self._transport]
        options += ["--tls"] if self._tls else []
        with ExitStack() as stack:
            environment: Mapping[str, str] | None = None
            if self._counts_frames:
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="frame-counts-")))
                self._counts = NodeCounts(folder)
                environment = counting_environment(folder, self._checkout)
            cluster = BenchCluster(
                nodes=self._shape.nodes,
                options=options,
                checkout=self._checkout,
                environment=environment,
            )
            stack.enter_context(cluster)
            client = ClientProcess(
                *("ringmill", cluster.endpoints, cluster.pids),
                checkout=self._checkout,
                transport=self._transport,
                credentials=_credentials(cluster.folder) if self._tls else None,
            )
            self._client = stack.enter_context(client)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def why_not(self, case: dict[str, Any]) -> str:
        knows_batches = (self._checkout / "client" / "many_keys.py").exists()
        return "an older one knows no batches" if case["way"] and not knows_batches else ""

    @property
    def why_no_scans(self) -> str:
        return "" if (self._checkout / "client" / "scans").exists() else "an older one knows no scans"

    def ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert self._client is not None
        if self._counts is None:
            return self._client.ask(asked)
        before = self._counts.read()
        answer = self._client.ask(asked)
        sent = [after - begun for after, begun in zip(self._counts.read(), before, strict=True)]
        return {**answer, "node_frames": sent}


def _credentials(folder: Path) -> dict[str, str]:
    """What a client of a cluster with TLS needs."""
    token = (folder / "token").read_text(encoding="ascii").strip()
    return {"tls_ca": str(folder / "tls" / "ca.pem"), "token": token}
