"""Layers that turn requests and answers into bytes and back: frames, protobuf, messages between replicas."""

from __future__ import annotations

from layer_parts.layer import KEY, NODES, VALUE, Layer
from ringmill.client.values import item_of, receipt_from
from ringmill.cluster.ids import Epoch, KeyspaceId
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.wire.frames import (
    decode_answers,
    decode_operations,
    encode_answers,
    encode_operations,
)
from ringmill.cluster.wire.request_options import WriteOptions
from ringmill.cluster.wire.stubs import kv_pb2
from ringmill.node.replica.replica_messages import Apply, ApplyAnswer, Read, ReadAnswer

__all__ = ["message_layers"]

FRAME = 8  # operations in a frame, about what three nodes carry at 64 in flight


def message_layers(encoded: bytes) -> list[Layer]:
    """`encoded` is an object with one sibling."""
    return [*_frames(encoded), *_protobuf(), *_replica_messages(encoded)]


def _frames(encoded: bytes) -> list[Layer]:
    operations = [(number, "kv.put", 5_000_000, 1, encoded) for number in range(FRAME)]
    answers = [(number, encoded) for number in range(FRAME)]
    sealed, sealed_answers = encode_operations(operations, 1), encode_answers(answers, 1)
    message = kv_pb2.Frame(body=sealed).SerializeToString()
    return [
        Layer("frame: encode an operation", 3, 2, lambda: encode_operations(operations, 1), each=FRAME),
        Layer("frame: decode an operation", 3, 2, lambda: decode_operations(sealed), each=FRAME),
        Layer("frame: encode an answer", 3, 2, lambda: encode_answers(answers, 1), each=FRAME),
        Layer("frame: decode an answer", 3, 2, lambda: decode_answers(sealed_answers), each=FRAME),
        Layer(
            "frame: protobuf around it, out",
            0.78,
            0.88,
            lambda: kv_pb2.Frame(body=sealed).SerializeToString(),
        ),
        Layer("frame: protobuf around it, in", 0.78, 0.88, lambda: kv_pb2.Frame.FromString(message).body),
    ]


def _protobuf() -> list[Layer]:
    options = WriteOptions()

    def put_request() -> kv_pb2.PutRequest:
        request = kv_pb2.PutRequest(value=VALUE)
        request.keyspace, request.key = "default", KEY
        request.operation.session, request.operation.sequence, request.operation.birth = 1 << 60, 42, 1 << 60
        options.fill(request)
        request.epoch = 1
        return request

    receipt = kv_pb2.WriteReceipt(
        dot="n1#1.9f31c0aa52:42",
        context=VALUE[:40],
        epoch=1,
        w=2,
        replicas=[kv_pb2.ReplicaAck(node=node, role="owner", durability="synced") for node in NODES[:2]],
        hybrid_time=1 << 60,
    )
    response = kv_pb2.GetResponse(
        siblings=[kv_pb2.Sibling(value=VALUE, dot="n1#1.9f31c0aa52:42", hybrid_time=1 << 60)],
        context=VALUE[:40],
        answered=NODES[:2],
        epoch=1,
        hybrid_time=1 << 60,
    )
    request, written, read = (
        put_request().SerializeToString(), receipt.SerializeToString(), response.SerializeToString(),
    )  # fmt: skip
    get_request = kv_pb2.GetRequest(keyspace="default", key=KEY, epoch=1).SerializeToString()
    return [
        Layer("client: build a put", 1, 0, lambda: put_request().SerializeToString()),
        Layer(
            "client: build a get",
            0,
            1,
            lambda: kv_pb2.GetRequest(keyspace="default", key=KEY, epoch=1).SerializeToString(),
        ),
        Layer("client: parse a receipt", 1, 0, lambda: receipt_from(kv_pb2.WriteReceipt.FromString(written))),
        Layer("client: parse an item", 0, 1, lambda: item_of(kv_pb2.GetResponse.FromString(read))),
        Layer("service: parse a put", 1, 0, lambda: kv_pb2.PutRequest.FromString(request)),
        Layer("service: parse a get", 0, 1, lambda: kv_pb2.GetRequest.FromString(get_request)),
        Layer(
            "service: options of a put", 1, 0, lambda: WriteOptions.of(kv_pb2.PutRequest.FromString(request))
        ),
        Layer("service: serialise a receipt", 1, 0, receipt.SerializeToString),
        Layer("service: serialise an item", 0, 1, response.SerializeToString),
    ]


def _replica_messages(encoded: bytes) -> list[Layer]:
    keyspace, epoch = KeyspaceId(1, 0), Epoch(1)
    apply = Apply(epoch, keyspace, KEY, Durability.SYNCED, encoded)
    held = ApplyAnswer(epoch, Durability.SYNCED, HybridTime(1 << 60))
    read, answer = Read(epoch, keyspace, KEY), ReadAnswer(epoch, encoded)
    packed = apply.encode(), held.encode(), read.encode(), answer.encode()
    return [
        Layer("replica: encode an apply", 2, 0, apply.encode),
        Layer("replica: decode an apply", 2, 0, lambda: Apply.decode(packed[0])),
        Layer("replica: encode its ack", 2, 0, held.encode),
        Layer("replica: decode its ack", 2, 0, lambda: ApplyAnswer.decode(packed[1])),
        Layer("replica: encode a read", 0, 1, read.encode),
        Layer("replica: decode a read", 0, 1, lambda: Read.decode(packed[2])),
        Layer("replica: encode its answer", 0, 1, answer.encode),
        Layer("replica: decode its answer", 0, 1, lambda: ReadAnswer.decode(packed[3])),
    ]
