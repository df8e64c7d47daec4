"""The answers to puts, deletes and gets as bytes, without the messages of protobuf.

A message of protobuf is made field by field and then written field by field; here the fields are written at
once.  Only fields that are not empty are written, in the order of their numbers, as protobuf does it: the
bytes are the same (proto/kv.proto).
"""

from __future__ import annotations

from functools import lru_cache

from ringmill.cluster.ids import NodeId
from ringmill.cluster.quorum.receipt import QuorumAck, QuorumReceipt
from ringmill.cluster.versions.objects import Sibling
from ringmill.node.requests.request_values import ReadResult

__all__ = ["receipt_bytes", "result_bytes"]


def receipt_bytes(receipt: QuorumReceipt) -> bytes:
    """A WriteReceipt."""
    dot, context, time, epoch, w, replicas, is_weak = receipt
    return b"".join(
        (
            _text(b"\x0a", str(dot).encode()),
            _text(b"\x12", context),
            b"\x18" + _varint(epoch) if epoch else b"",
            b"\x20" + _varint(w) if w else b"",
            _acks(replicas),
            b"\x30\x01" if is_weak else b"",
            b"\x39" + time.to_bytes(8, "little") if time else b"",
        )
    )


def result_bytes(result: ReadResult) -> bytes:
    """A GetResponse."""
    siblings, context, answered, repaired, is_weak, epoch, time, judged_at_ms, is_hot = result
    return b"".join(
        (
            *map(_sibling, siblings),
            _text(b"\x12", context),
            _names(answered),
            b"\x20" + _varint(repaired) if repaired else b"",
            b"\x28\x01" if is_weak else b"",
            b"\x30" + _varint(epoch) if epoch else b"",
            b"\x39" + time.to_bytes(8, "little") if time else b"",
            b"\x40" + _varint(judged_at_ms) if judged_at_ms else b"",
            b"\x48\x01" if is_hot else b"",
        )
    )


def _sibling(sibling: Sibling) -> bytes:
    (actor, counter), value, time, _, expires_at_ms, _ = sibling
    dot = f"{actor}:{counter}".encode()
    body = b"".join(
        (
            _text(b"\x0a", value) if value else b"",
            b"\x12" + _varint(len(dot)) + dot,
            b"\x19" + time.to_bytes(8, "little") if time else b"",
            b"\x20" + _varint(expires_at_ms) if expires_at_ms else b"",
        )
    )
    return b"\x0a" + _varint(len(body)) + body


@lru_cache(256)
def _acks(replicas: tuple[QuorumAck, ...]) -> bytes:
    """The same few for nearly all receipts."""
    bodies = [
        _text(b"\x0a", node.encode())
        + _text(b"\x12", role.encode())
        + _text(b"\x1a", durability.encode())
        + _text(b"\x22", stands_for.encode())
        for node, role, durability, stands_for in replicas
    ]
    return b"".join(b"\x2a" + _varint(len(body)) + body for body in bodies)


@lru_cache(256)
def _names(nodes: tuple[NodeId, ...]) -> bytes:
    names = [node.encode() for node in nodes]
    return b"".join(b"\x1a" + _varint(len(name)) + name for name in names)


def _text(tag: bytes, data: bytes) -> bytes:
    """A field of bytes or text; an empty one is not written."""
    return tag + _varint(len(data)) + data if data else b""


@lru_cache(1024)
def _varint(number: int) -> bytes:
    """Mostly lengths and epochs, which come again and again."""
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    digits.append(number)
    return bytes(digits)
