"""The answers to puts, deletes and gets as bytes, without the messages of protobuf.

A message of protobuf is made field by field and then written field by field; here the fields are written at
once.  Only fields that are not empty are written, in the order of their numbers, as protobuf does it: the
bytes are the same (proto/kv.proto).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

from ringmill.cluster.ids import Actor, Epoch, NodeId
from ringmill.cluster.quorum.receipt import QuorumAck, QuorumReceipt
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.node.requests.request_values import LoneResult, ReadResult

__all__ = ["receipt_bytes", "result_bytes"]

_FIXED: Final = struct.Struct("<BQ")  # the tag of a fixed64, and its number


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
            _FIXED.pack(0x39, time) if time else b"",
        )
    )


def result_bytes(result: ReadResult | LoneResult) -> bytes:
    """A GetResponse."""
    if isinstance(result, LoneResult):
        value, context, answered, is_weak, epoch, time, is_hot = result
        actor, counter, data, written, *_ = value.fields
        shown = _sibling(actor, counter, data, written, 0)
        return _response(shown, context, _who(answered, 0, is_weak, epoch), time, 0, is_hot)
    siblings, context, answered, repaired, is_weak, epoch, time, judged_at_ms, is_hot = result
    shown = b"".join(
        [
            _sibling(actor, counter, data, written, expires_at_ms)
            for (actor, counter), data, written, _, expires_at_ms, _ in siblings
        ]
    )
    return _response(shown, context, _who(answered, repaired, is_weak, epoch), time, judged_at_ms, is_hot)


def _response(
    shown: bytes, context: bytes, who: bytes, time: HybridTime, judged_at_ms: int, is_hot: bool
) -> bytes:
    return b"".join(
        (
            shown,
            b"\x12" + _varint(len(context)) + context if context else b"",
            who,
            _FIXED.pack(0x39, time) if time else b"",
            b"\x40" + _varint(judged_at_ms) if judged_at_ms else b"",
            b"\x48\x01" if is_hot else b"",
        )
    )


def _sibling(actor: Actor, counter: int, value: bytes | None, time: HybridTime, expires_at_ms: int) -> bytes:
    dot = f"{actor}:{counter}".encode()
    body = b"".join(
        (
            b"\x0a" + _varint(len(value)) + value if value else b"",
            b"\x12" + _varint(len(dot)) + dot,
            _FIXED.pack(0x19, time) if time else b"",
            b"\x20" + _varint(expires_at_ms) if expires_at_ms else b"",
        )
    )
    return b"\x0a" + _varint(len(body)) + body


@lru_cache(256)
def _acks(replicas: tuple[QuorumAck, ...]) -> bytes:
    """The acks of a receipt; cached, as nearly all receipts have the same few."""
    bodies = [
        _text(b"\x0a", node.encode())
        + _text(b"\x12", role.encode())
        + _text(b"\x1a", durability.encode())
        + _text(b"\x22", stands_for.encode())
        for node, role, durability, stands_for in replicas
    ]
    return b"".join(b"\x2a" + _varint(len(body)) + body for body in bodies)


@lru_cache(256)
def _who(answered: tuple[NodeId, ...], repaired: int, is_weak: bool, epoch: Epoch) -> bytes:
    """The fields of a GetResponse about who answered: the same few for nearly all of them."""
    names = [node.encode() for node in answered]
    return b"".join(
        (
            *[b"\x1a" + _varint(len(name)) + name for name in names],
            b"\x20" + _varint(repaired) if repaired else b"",
            b"\x28\x01" if is_weak else b"",
            b"\x30" + _varint(epoch) if epoch else b"",
        )
    )


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
