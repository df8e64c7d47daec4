"""Operation ids of writes, and what a later attempt of a write may do.

A later attempt first asks a quorum whether the operation was already applied; if so, it is answered from
that.  If not, but enough time or writes have passed that it may have been applied and superseded, the outcome
cannot be determined, and the write is not applied again (V4).  A touch never is: two coordinators may keep
different values, which one name would make copies of each other (V11).
"""

from __future__ import annotations

from typing import Final

from ringmill.cluster.errors import DeadlineExceeded, RingmillError
from ringmill.cluster.quorum.levels import majority
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.hybrid_time import HybridClock, millis
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.replica.object_store import REPLACED_HINT
from ringmill.node.replica.routes import Route
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.operations.own_operations import OwnOperations
from ringmill.node.requests.owners.observed import Observer
from ringmill.node.requests.request_values import WriteRequest

__all__ = ["RECOGNISED_FOR_MS", "WriteRetries"]

# Twice the longest deadline of a request (MAX_TIMEOUT_S): a client retries only within its deadline, and the
# rest is for a birth that lags, as it is the highest time that the client had learned, not its own clock.
RECOGNISED_FOR_MS: Final = 120_000


class WriteRetries:
    def __init__(self, *, observer: Observer, hybrid: HybridClock, operations: OwnOperations) -> None:
        self._observer = observer
        self._hybrid = hybrid
        self._operations = operations

    def named(self, request: WriteRequest) -> WriteRequest:
        """The request with an operation id; a client that never retries may leave it out."""
        if request.operation is not None:
            return request
        return request._replace(operation=self._operations.next(), encoded=b"")

    async def check_retry(self, request: WriteRequest, route: Route, deadline: Deadline) -> None:
        """Allow a second or later attempt, after bringing the effect of an earlier one to this copy.

        Raises DeadlineExceeded when nobody can tell whether an earlier attempt was applied, QuorumNotReached
        when too few owners answer, and what the engine raises; always with outcome "unknown".
        """
        operation = request.operation
        if request.attempt == 0 or operation is None:
            return
        try:
            await self._check_retry(operation, request, route, deadline)
        except RingmillError as error:
            raise error.with_outcome("unknown") from error

    async def _check_retry(
        self, operation: OperationId, request: WriteRequest, route: Route, deadline: Deadline
    ) -> None:
        found = await self._observer.ask(route, route.row.readers_for(majority(route.row.size)), deadline)
        if found.find(operation) is not None:
            sometimes("a later attempt finds that an earlier one was applied")
            await self._observer.bring(found, route, deadline)
            return
        # Its client may have learned no time yet; of a key that was never written none is needed.
        is_first = found.is_absent and not operation.birth
        age_ms = millis(self._hybrid.now()) - millis(operation.birth)
        may_be_replaced = found.has_replaced(operation) or found.forgets_since(operation)
        if may_be_replaced or (age_ms > RECOGNISED_FOR_MS and not is_first):
            sometimes("a later attempt cannot tell what became of the earlier ones")
            raise DeadlineExceeded(
                f"a write named {_when(operation, age_ms)}, attempt {request.attempt + 1}: an earlier one "
                "may have been applied and superseded since, so it is not applied again",
                detail={"earlier": "replaced" if found.has_replaced(operation) else "unknown"},
                hint=REPLACED_HINT,
            )
        if request.is_touch:
            sometimes("a touch is not sent again")
            raise DeadlineExceeded(
                f"a touch, attempt {request.attempt + 1}: an earlier one may have been applied, so it is not "
                "applied again",
                detail={"earlier": "unknown"},
                hint="get the key to see how long it lives, and touch it again",
            )
        sometimes("a later attempt is applied as no earlier one was")


def _when(operation: OperationId, age_ms: int) -> str:
    return f"{age_ms} ms ago" if operation.birth else "by a client that knew no time yet"
