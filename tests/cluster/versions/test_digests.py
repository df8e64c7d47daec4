"""An object that many read at once is hashed once, and its next version again."""

from __future__ import annotations

from ringmill.cluster.versions import digests
from ringmill.cluster.versions.digests import RecentDigests, digest_of
from ringmill.simulator.patching import function, patched


def test_large_objects_are_hashed_once_for_many_readers() -> None:
    hashed: list[bytes] = []

    def counted(encoded: bytes) -> bytes:
        hashed.append(encoded)
        return digest_of(encoded)

    first, second = b"a" * (1 << 20), b"b" * (1 << 20)
    with patched(function(digests, digest_of, counted)):
        recent = RecentDigests()
        for _ in range(100):
            for encoded in (first, bytes(bytearray(first)), second):
                assert recent.of(encoded) == digest_of(encoded)
        assert hashed == [first, second]
        for number in range(4):  # as many as are remembered
            recent.of(b"%d" % number * (1 << 20))
        hashed.clear()
        recent.of(first)
    assert hashed == [first]


def test_what_is_remembered_is_bounded_in_bytes() -> None:
    recent = RecentDigests()
    for number in range(8):
        recent.of(bytes([number]) * (8 << 20))
    assert sum(len(encoded) for encoded, _ in recent._kept) <= 16 << 20
