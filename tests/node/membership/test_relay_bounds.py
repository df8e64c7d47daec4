"""What a peer may ask of a helper that is to relay a probe."""

from __future__ import annotations

import math

import msgpack
import pytest

from ringmill.cluster.errors import InvalidArgument
from ringmill.node.membership.liveness import PING_REQ, _relay


@pytest.mark.parametrize("timeout_s", [math.inf, math.nan, 0.0, -1.0, 1e300])
def test_a_probe_is_relayed_for_no_time_that_a_frame_cannot_carry(timeout_s: float) -> None:
    """Else the frame it is put into cannot be made, which ends the link and the node with it."""
    with pytest.raises(InvalidArgument, match=PING_REQ):
        _relay(msgpack.packb(["n2", timeout_s, b"probe"]))
