"""What the doctor asks the nodes of a cluster for, once, before any check."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ringmill.client.administration.moves_view import MovesView
from ringmill.client.administration.node_metrics import NodeMetrics
from ringmill.client.administration.second_looks import seen_by_all
from ringmill.client.administration.status import ClusterStatus
from ringmill.client.connection import AsyncClient
from ringmill.client.jobs.job_values import CoordinatorState
from ringmill.cluster.errors import RingmillError

__all__ = ["ClusterFacts", "ask_cluster"]

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """None for what this client may not ask, or what nobody has answered; `refused` says why, by question."""

    status: ClusterStatus
    metrics: Mapping[str, NodeMetrics] = field(default_factory=dict)
    moves: MovesView | None = None
    coordinator: CoordinatorState | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    version: str = ""  # of this client
    code: str = ""  # of the nodes that this client would start
    has_token: bool = True  # whether this client has shown one
    has_tls: bool = False
    is_local: bool = True  # whether commands may start and stop the nodes


async def ask_cluster(
    db: AsyncClient, *, version: str, code: str, has_token: bool, has_tls: bool, is_local: bool
) -> ClusterFacts:
    """Raises Unavailable when no node answers.

    A member that answers and that others do not see up, as after a start, is looked at again for a few
    seconds: else the advice would be to restart it.
    """
    refused: dict[str, str] = {}

    async def answer_of(question: str, asked: Awaitable[AnswerT]) -> AnswerT | None:
        try:
            return await asked
        except RingmillError as error:
            refused[question] = error.message
            return None

    status = await seen_by_all(db.status)
    return ClusterFacts(
        status=status,
        metrics=await answer_of("metrics", db.metrics()) or {},
        moves=await answer_of("moves", db.members.moves()),
        coordinator=await answer_of("jobs", db.jobs.coordinator()),
        refused=refused,
        version=version,
        code=code,
        has_token=has_token,
        has_tls=has_tls,
        is_local=is_local,
    )
