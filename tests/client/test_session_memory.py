"""What a session remembers: joined, bounded, and the same after a journey as bytes."""

from __future__ import annotations

from zlib import crc32

import msgpack
import pytest

from ringmill.client.session_memory import SessionMemory
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import Actor, ClusterId, KeyspaceId
from ringmill.cluster.limits import MAX_CONTEXT_BYTES
from ringmill.cluster.versions.context_token import NO_SECRET, ContextToken
from ringmill.cluster.versions.dots import VersionVector
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.seen import Forgotten
from ringmill.cluster.wire.request_options import Seen
from ringmill.cluster.wire.stubs.kv_pb2 import GetResponse, WriteReceipt

HOME, AGAIN, CLUSTER = KeyspaceId(1, 0), KeyspaceId(3, 0), ClusterId("c" * 32)


def token(key: bytes, home: KeyspaceId = HOME, **counts: int) -> bytes:
    vector = VersionVector.of((Actor(f"{node}#1"), count) for node, count in counts.items())
    return NO_SECRET.token(ContextToken(vector, HybridTime(sum(counts.values()))), home, key)


def shown(key: bytes, *, weak: bool = False, **counts: int) -> GetResponse:
    return GetResponse(context=token(key, HOME, **counts), weak=weak, hybrid_time=7)


def counts_of(seen: Seen, key: bytes) -> dict[str, int]:
    if not seen.context:
        return {}
    return {str(actor): count for actor, count in NO_SECRET.open(seen.context, HOME, key).vector.entries}


def read(memory: SessionMemory, key: bytes, *, weak: bool = False, **counts: int) -> None:
    memory.note_read("default", key, shown(key, weak=weak, **counts), memory.seen("default", key))


def test_it_covers_all_answers_whatever_their_order() -> None:
    memory = SessionMemory(CLUSTER)
    before = memory.seen("default", b"k")
    read(memory, b"k", n1=3)
    memory.note_read("default", b"k", shown(b"k", n1=2, n2=1), before)  # the request was sent before
    assert counts_of(memory.seen("default", b"k"), b"k") == {"n1#1": 3, "n2#1": 1}
    assert memory.seen("default", b"other") == Seen()
    assert memory.seen("another", b"k") == Seen()


def test_what_an_answer_lacks_of_what_was_asked_for_is_forgotten_and_is_not_asked_for_again() -> None:
    """It was deleted, and all owners have forgotten the delete: no answer will ever have it."""
    memory = SessionMemory(CLUSTER)
    read(memory, b"k", n1=3)
    read(memory, b"k", n2=1)
    assert counts_of(memory.seen("default", b"k"), b"k") == {"n2#1": 1}


def test_a_write_without_a_context_is_kept_by_its_dot_until_a_read_covers_it() -> None:
    memory = SessionMemory(CLUSTER)
    receipt = WriteReceipt(dot="n1#1:5", hybrid_time=9)
    memory.note_write("default", b"k", receipt, memory.seen("default", b"k"))
    assert memory.seen("default", b"k") == Seen(dots=("n1#1:5",), times=(9,))
    memory.note_read("default", b"k", shown(b"k", n1=4), None)
    assert memory.seen("default", b"k").dots == ("n1#1:5",)
    memory.note_read("default", b"k", shown(b"k", n1=5), None)
    assert memory.seen("default", b"k").dots == ()
    memory.note_write("default", b"k", WriteReceipt(dot="n1#1:6"), memory.seen("default", b"k"))
    read(memory, b"k", n2=1)
    assert memory.seen("default", b"k").dots == (), "it was asked for, so it was deleted and is forgotten"


def test_the_oldest_key_is_forgotten_and_how_it_was_seen_is_not() -> None:
    memory = SessionMemory(CLUSTER, most_keys=2)
    for key in (b"a", b"b", b"a", b"c"):
        read(memory, key, n1=1)
    assert memory.seen("default", b"a").context
    assert memory.seen("default", b"b") == Seen(forgotten=1)
    read(memory, b"b", weak=True, n1=1)
    assert not memory.seen("default", b"b").forgotten, "a read at the level it asked for covers it"
    read(memory, b"d", n1=1)
    read(memory, b"e", n1=1)
    assert memory.seen("default", b"b") == Seen(forgotten=2)


def test_a_strict_read_makes_a_weakly_seen_key_a_strict_one() -> None:
    memory = SessionMemory(CLUSTER, most_keys=1)
    read(memory, b"a", weak=True, n1=1)
    read(memory, b"a", n1=1)
    read(memory, b"b", n1=1)
    assert memory.seen("default", b"a") == Seen(forgotten=1)


def test_a_write_with_a_context_of_its_own_does_not_stand_for_what_was_forgotten() -> None:
    memory = SessionMemory(CLUSTER, most_keys=1)
    read(memory, b"a", weak=True, n1=1)
    read(memory, b"b", n1=1)
    receipt = WriteReceipt(dot="n2#1:1", context=token(b"a", n2=1))
    memory.note_write("default", b"a", receipt, None)
    assert memory.seen("default", b"a").forgotten == 2
    memory.note_write("default", b"a", receipt, memory.seen("default", b"a"))
    assert memory.seen("default", b"a").forgotten == 0


def test_it_is_bounded_in_bytes_as_well() -> None:
    memory = SessionMemory(CLUSTER, most_bytes=400)
    for number in range(20):
        read(memory, b"%d" % number, n1=1)
    assert len(memory.encode()) < 600
    assert memory.seen("default", b"19").context
    assert memory.seen("default", b"0").forgotten


def test_a_token_carries_all_of_it() -> None:
    memory = SessionMemory(CLUSTER, most_keys=3)
    for key in (b"a", b"b", b"c", b"d"):
        read(memory, key, weak=True, n1=1)
    memory.note_write("default", b"d", WriteReceipt(dot="n1#1:5"), None)
    again = SessionMemory.decode(memory.encode(), CLUSTER)
    assert again.encode() == memory.encode()
    assert again.newest == 7
    for key in (b"a", b"b", b"c", b"d"):
        assert again.seen("default", key) == memory.seen("default", key)


def test_a_token_of_the_former_version_has_no_times() -> None:
    body: bytes = msgpack.packb([CLUSTER, 0, 7, [[b"12345678", b"", ["n1#1:5"], False, 0]]])
    token = b"\x01" + body + crc32(b"\x01" + body).to_bytes(4, "big")
    again = SessionMemory.decode(SessionMemory.decode(token, CLUSTER).encode(), CLUSTER)
    assert [known.writes for known in again._keys.values()] == [(("n1#1:5", 0),)]


def test_a_thousand_keys_take_less_than_a_hundred_kilobytes() -> None:
    memory = SessionMemory(CLUSTER)
    for number in range(2000):
        read(memory, b"%d" % number, n1=number + 1, n2=number + 1)
    assert memory.seen("default", b"1000").context and memory.seen("default", b"999").forgotten
    assert len(memory.encode()) < 100_000


@pytest.mark.parametrize("cut", [0, 1, 4, 5, 20, -1])
def test_what_is_not_a_token_is_refused(cut: int) -> None:
    memory = SessionMemory(CLUSTER)
    read(memory, b"k", n1=1)
    whole = memory.encode()
    for wrong in (whole[:cut], b"\x03" + whole[1:], whole + b"x", bytes(1 << 20)):
        with pytest.raises(InvalidArgument, match="session token"):
            SessionMemory.decode(wrong, CLUSTER)
    with pytest.raises(InvalidArgument, match="session token is empty"):
        SessionMemory.decode(b"", CLUSTER)
    with pytest.raises(InvalidArgument, match="of another cluster"):
        SessionMemory.decode(whole, ClusterId("d" * 32))


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("forged", [8, b"seven b", "texts be"])
def test_an_entry_with_an_invalid_name_or_context_is_refused(at: int, forged: object) -> None:
    """Of a number Python makes as many bytes: 200 million of them from 5."""
    entry: list[object] = [b"eight by", b"", [], False, 0]
    entry[at] = forged
    body = b"\x02" + msgpack.packb([CLUSTER, 0, 0, [entry]])
    with pytest.raises(InvalidArgument):
        SessionMemory.decode(body + crc32(body).to_bytes(4, "big"))


def test_what_was_seen_in_a_keyspace_that_is_gone_is_forgotten_key_by_key() -> None:
    memory = SessionMemory(CLUSTER)
    read(memory, b"k", n1=3)
    read(memory, b"other", n1=3)
    assert not memory.forget_others("default", b"k", HOME)
    assert memory.seen("default", b"k").context
    memory = SessionMemory.decode(memory.encode())
    assert memory.forget_others("default", b"k", AGAIN)
    assert memory.seen("default", b"k") == Seen()
    assert memory.seen("default", b"other").context
    assert not memory.forget_others("default", b"k", AGAIN)


def test_a_dot_alone_tells_of_which_keyspace_it_is() -> None:
    memory = SessionMemory(CLUSTER)
    memory.note_write("default", b"k", WriteReceipt(dot="n1#1:5"), memory.seen("default", b"k"), HOME)
    assert memory.seen("default", b"k").dots == ("n1#1:5",)
    assert counts_of(memory.seen("default", b"k"), b"k") == {}
    memory.note_write("default", b"k", WriteReceipt(dot="n1#1:6"), memory.seen("default", b"k"), HOME)
    assert memory.seen("default", b"k").dots == ("n1#1:5", "n1#1:6")
    memory = SessionMemory.decode(memory.encode())
    memory.note_write("default", b"k", WriteReceipt(dot="n2#1:1"), None, AGAIN)
    assert memory.seen("default", b"k").dots == ("n2#1:1",)
    assert memory.forget_others("default", b"k", HOME)


def test_an_answer_of_a_later_keyspace_takes_the_place_of_what_was_seen_before() -> None:
    memory = SessionMemory(CLUSTER)
    read(memory, b"k", n1=3)
    before = memory.seen("default", b"k")
    later = GetResponse(context=token(b"k", AGAIN, n1=4), hybrid_time=9)
    memory.note_read("default", b"k", later, None)
    assert memory.seen("default", b"k").context == later.context
    memory.note_read("default", b"k", shown(b"k", n1=3), before)  # the request was sent before
    assert memory.seen("default", b"k").context == later.context


def told_by_starts(first: int, last: int, count: int = 2) -> bytes:
    """The context of a key that each of these starts has written."""
    vector = VersionVector.of((Actor(f"n1#{number}.{number:010x}"), count) for number in range(first, last))
    return NO_SECRET.token(ContextToken(vector, HybridTime(count)), HOME, b"k")


def test_a_write_is_done_whatever_its_receipt_says_of_the_key() -> None:
    """A node of the release before gives out contexts that nobody takes."""
    memory = SessionMemory(CLUSTER)
    read(memory, b"k", n1=3)
    before = memory.seen("default", b"k")
    receipt = WriteReceipt(context=bytes(MAX_CONTEXT_BYTES + 1), dot="n1#1:4", hybrid_time=9)
    memory.note_write("default", b"k", receipt, before)
    assert memory.seen("default", b"k") == before._replace(forgotten=Forgotten.STRICT)
    memory.note_read("default", b"k", GetResponse(context=receipt.context, weak=True), None)
    assert memory.seen("default", b"k").forgotten is Forgotten.WEAK


def test_contexts_that_have_no_room_beside_each_other_are_forgotten_but_for_the_last() -> None:
    memory = SessionMemory(CLUSTER)
    for first in range(0, 8_000, 400):
        receipt = WriteReceipt(context=told_by_starts(first, first + 400), hybrid_time=9)
        memory.note_write("default", b"k", receipt, None)
        seen = memory.seen("default", b"k")
        assert len(seen.context) <= MAX_CONTEXT_BYTES
        assert counts_of(seen, b"k").items() >= counts_of(Seen(receipt.context), b"k").items()
    assert seen.forgotten is Forgotten.STRICT
    assert SessionMemory.decode(memory.encode()).seen("default", b"k") == seen
    asked = memory.seen("default", b"k")
    memory.note_read("default", b"k", GetResponse(context=told_by_starts(0, 400, 3)), asked)
    assert memory.seen("default", b"k").forgotten is Forgotten.NOTHING
