"""The client refuses exactly what a node would refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringmill.client.arguments import (
    checked_context,
    checked_key,
    checked_timeout_s,
    checked_ttl_ms,
    checked_value,
)
from ringmill.client.values import CausalContext
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.limits import (
    MAX_CONTEXT_BYTES,
    MAX_KEY_BYTES,
    MAX_TIMEOUT_S,
    MAX_TTL_MS,
    MAX_VALUE_BYTES,
)
from ringmill.cluster.versions.context_token import NO_SECRET
from ringmill.node.requests.request_limits import check_key, check_ttl, check_value, time_allowed


@pytest.mark.parametrize(
    ("of_the_client", "of_the_node", "most"),
    [
        (lambda n: checked_key(bytes(n)), lambda n: check_key(bytes(n)), MAX_KEY_BYTES),
        (lambda n: checked_value(bytes(n)), lambda n: check_value(bytes(n)), MAX_VALUE_BYTES),
        (lambda n: checked_ttl_ms(n / 1000), check_ttl, MAX_TTL_MS),
        (checked_timeout_s, lambda n: time_allowed(n, None), int(MAX_TIMEOUT_S)),
    ],
)
def test_client_and_node_refuse_from_the_same_size_on(
    of_the_client: Callable[[int], object], of_the_node: Callable[[int], object], most: int
) -> None:
    for check in (of_the_client, of_the_node):
        check(most)
        with pytest.raises(InvalidArgument):
            check(most + 1)


def test_client_and_node_take_contexts_of_the_same_length() -> None:
    token = bytes(MAX_CONTEXT_BYTES + 1)
    with pytest.raises(InvalidArgument, match=str(MAX_CONTEXT_BYTES)):
        checked_context(CausalContext(token))
    with pytest.raises(InvalidArgument, match=f"at most {MAX_CONTEXT_BYTES} are taken"):
        NO_SECRET.open(token, KeyspaceId(1, 0), b"k")
    assert checked_context(CausalContext(token[1:])) is not None
    with pytest.raises(InvalidArgument, match="is damaged"):
        NO_SECRET.open(token[1:], KeyspaceId(1, 0), b"k")
