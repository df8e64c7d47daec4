"""Pages of a copy: bounded in what is read for them, and each one leads on."""

from __future__ import annotations

import errno
import os
from typing import cast

import pytest

from ringmill.cluster.errors import CorruptData, Overloaded, ProtocolMismatch, RingmillError, WrongEpoch
from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.cluster.ports import Transport
from ringmill.cluster.ring.topology import Row
from ringmill.node.replica.pages import Page, ReadPage, ask_page
from tests.node.small_world import World

ROW = Row((), "normal", Epoch(1), ())
PARTITION = PartitionId(3)


class AnswersAlike:
    """A peer that says the same whatever it is asked."""

    def __init__(self, page: Page) -> None:
        self._answer = page.encode()

    async def call(self, *_: object, **__: object) -> bytes:
        return self._answer


@pytest.mark.parametrize(
    ("page", "error"),
    [
        (Page(Epoch(1), (), b"k5"), ProtocolMismatch),
        (Page(Epoch(1), (), b"k4"), ProtocolMismatch),
        (Page(Epoch(2), (), b""), WrongEpoch),
    ],
    ids=["the same again", "back", "another row"],
)
async def test_a_page_that_leads_nowhere_is_refused(page: Page, error: type[Exception]) -> None:
    transport = cast("Transport", AnswersAlike(page))
    request = ReadPage(Epoch(1), PARTITION, b"k5")
    with pytest.raises(error):
        await ask_page(transport, NodeId("n2"), request, ROW, timeout_s=1)


def test_nodes_of_an_older_release_ask_and_are_asked_with_five_fields() -> None:
    """Fixed bytes: the fifth field asked for digests, and no node may answer those with objects."""
    request = ReadPage(Epoch(7), PARTITION, b"a", b"b")
    sent = b"\x95\x07\x03\xc4\x01a\xc4\x01b"
    assert request.encode() == sent + b"\xc2"
    assert ReadPage.decode(sent + b"\xc2") == request
    with pytest.raises(ProtocolMismatch, match="no digests"):
        ReadPage.decode(sent + b"\xc3")


@pytest.mark.parametrize(
    ("number", "error"), [(errno.EIO, CorruptData), (errno.EMFILE, Overloaded), (errno.ENOENT, CorruptData)]
)
def test_an_owner_whose_disk_cannot_be_read_says_so_in_the_errors_of_the_tree(
    number: int, error: type[RingmillError]
) -> None:
    """And not as a node that is silent, which would be asked for no other range either."""
    world = World()

    async def story() -> None:
        world.nodes["n2"].engine.scan_failure = OSError(number, os.strerror(number), "/data/store/7.table")
        row = world.topology.rows[PARTITION]
        request = ReadPage(world.topology.epoch, PARTITION)
        asking = ask_page(world.nodes["n1"].core.transport, NodeId("n2"), request, row, timeout_s=1)
        with pytest.raises(RingmillError, match=r"partition 3 cannot be read: .*/7\.table") as refusal:
            await world.on("n1", asking)
        assert refusal.type is error
        assert not world.nodes["n2"].transport.bugs

    world.run(story())
