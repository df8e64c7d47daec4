"""Numbers in a claim stay where this node can count on from them and still say the result."""

from __future__ import annotations

import msgpack
import pytest

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.membership.claims import Message


@pytest.mark.parametrize(("start", "number"), [(2**64 - 1, 0), (1, 2**64 - 1), (-1, 0), (1, -1)])
def test_a_claim_with_a_number_that_could_not_be_raised_is_refused(start: int, number: int) -> None:
    """Refuting it would take a number that no message holds, and end the node that tried."""
    claim = ["n1", "ab" * 16, 1, start, "cd" * 8, number, "n2"]
    with pytest.raises(InvalidArgument, match="a claim with start"):
        Message.decode(msgpack.packb([1, 1, False, [claim]]))
