"""A client asks the owners of a key in turn once a node has called the key hot, and only then."""

from __future__ import annotations

import pytest

from ringmill.client.routing.hot_reads import KEPT_S, KEYS, HotReads
from tests.client.routing.test_router import KEY, FakeCluster
from tests.client.routing.test_window import SendingCluster, client_of

READS = 30


def gets(cluster: FakeCluster) -> list[int]:
    return [node.asked.count("Get") for node in cluster.owners(KEY)]


@pytest.mark.parametrize("kind", [FakeCluster, SendingCluster])
@pytest.mark.parametrize("is_hot", [True, False])
async def test_reads_of_a_hot_key_go_to_all_its_owners_and_of_another_one_to_the_first(
    kind: type[FakeCluster], is_hot: bool
) -> None:
    cluster = kind()
    cluster.hot = {KEY} if is_hot else set()
    async with client_of(cluster) as db:
        await db.put(KEY, b"Ada")
        before = gets(cluster)  # of the topology
        for _ in range(READS):
            await db.get(KEY)
        await db.mget([KEY] * READS)
        asked = [now - then for now, then in zip(gets(cluster), before, strict=True)]
        await db.put(KEY, b"Bo")
    assert sum(asked) == 2 * READS
    if is_hot:
        assert max(asked) - min(asked) <= 3, asked
    else:
        assert asked == [2 * READS, 0, 0]
    assert [node.asked.count("Put") for node in cluster.owners(KEY)] == [2, 0, 0], "writes go on as ever"


async def test_an_owner_that_is_gone_is_asked_last_though_it_has_its_turn() -> None:
    cluster = FakeCluster()
    cluster.hot = {KEY}
    async with client_of(cluster) as db:
        await db.put(KEY, b"Ada")
        await db.get(KEY)
        cluster.owners(KEY)[1].is_listening = False
        for _ in range(READS):
            assert (await db.get(KEY)).value == b"Ada"
    first, second, third = gets(cluster)
    assert second <= 1
    assert min(first, third) >= READS // 3


def test_what_is_kept_of_hot_keys_is_bounded_and_ends() -> None:
    hot = HotReads()
    for number in range(KEYS + 1):
        hot.heard("", b"%d" % number, 0.0)
    assert hot.next_turn("default", b"0", 1.0) == 0, "the one of the oldest news had to go"
    assert [hot.next_turn("default", b"1", 1.0), hot.next_turn("", b"1", 1.0)] == [1, 2]
    assert hot.next_turn("other", b"1", 1.0) == 0
    hot.heard("", b"1", 5.0)
    assert hot.next_turn("", b"1", KEPT_S + 4) == 3
    assert hot.next_turn("", b"1", KEPT_S + 6) == 0
