"""Layers that turn requests and answers into bytes and back: frames, protobuf, messages between replicas."""

from __future__ import annotations

from layer_parts.layer import FRAME, GET_CALLS, KEY, NODES, PUT_CALLS, VALUE, Layer, Work
from ringmill.client.values import item_of, receipt_from
from ringmill.cluster.ids import Actor, Epoch, KeyspaceId, NodeId
from ringmill.cluster.quorum.receipt import Durability, QuorumAck, QuorumReceipt, Role
from ringmill.cluster.versions.dots import Dot
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.lone_value import lone_of
from ringmill.cluster.wire.frames import (
    decode_answers,
    decode_operations,
    encode_answers,
    encode_operations,
)
from ringmill.cluster.wire.request_options import WriteOptions
from ringmill.cluster.wire.stubs import kv_pb2
from ringmill.node.replica.replica_messages import ApplyMany, ApplyManyAnswer, ReadMany, ReadManyAnswer
from ringmill.node.requests.encoding.answer_bytes import receipt_bytes, result_bytes
from ringmill.node.requests.encoding.kv_codec import read_request, write_request
from ringmill.node.requests.request_values import LoneResult

__all__ = ["message_layers"]


def message_layers(encoded: bytes) -> list[Layer]:
    """`encoded` is an object with one sibling."""
    return [*_frames(encoded), *_protobuf(encoded), *_replica_messages(encoded)]


def _frames(encoded: bytes) -> list[Layer]:
    operations = [(number, "kv.put", 5_000_000, 1, encoded) for number in range(FRAME)]
    answers = [(number, encoded) for number in range(FRAME)]
    sealed, sealed_answers = encode_operations(operations, 1), encode_answers(answers, 1)
    message = kv_pb2.Frame(body=sealed).SerializeToString()
    carried: dict[str, Work] = {
        "encode an operation": lambda: encode_operations(operations, 1),
        "decode an operation": lambda: decode_operations(sealed),
        "encode an answer": lambda: encode_answers(answers, 1),
        "decode an answer": lambda: decode_answers(sealed_answers),
    }
    return [
        *(Layer(f"frame: {what}", PUT_CALLS, GET_CALLS, work, each=FRAME) for what, work in carried.items()),
        Layer(
            "frame: protobuf around it, out",
            0.78,
            0.88,
            lambda: kv_pb2.Frame(body=sealed).SerializeToString(),
        ),
        Layer("frame: protobuf around it, in", 0.78, 0.88, lambda: kv_pb2.Frame.FromString(message).body),
    ]


def _protobuf(encoded: bytes) -> list[Layer]:
    options = WriteOptions()

    def put_request() -> kv_pb2.PutRequest:
        request = kv_pb2.PutRequest(value=VALUE)
        request.keyspace, request.key = "default", KEY
        request.operation.session, request.operation.sequence, request.operation.birth = 1 << 60, 42, 1 << 60
        options.fill(request)
        request.epoch = 1
        return request

    owners, when, epoch = [NodeId(name) for name in NODES], HybridTime(1 << 60), Epoch(1)
    acks = tuple([QuorumAck(node, Role.OWNER, Durability.SYNCED) for node in owners[:2]])
    receipt = QuorumReceipt(Dot(Actor("n1#1.9f31c0aa52"), 42), VALUE[:40], when, epoch, 2, acks, False)
    value = lone_of(encoded)
    assert value is not None
    result = LoneResult(value, VALUE[:40], tuple(owners[:2]), False, epoch, when, False)
    request, written, read = put_request().SerializeToString(), receipt_bytes(receipt), result_bytes(result)
    get_request = kv_pb2.GetRequest(keyspace="default", key=KEY, epoch=1).SerializeToString()
    put, get = kv_pb2.PutRequest.FromString(request), kv_pb2.GetRequest.FromString(get_request)
    return [
        Layer("client: build a put", 1, 0, lambda: put_request().SerializeToString()),
        Layer(
            "client: build a get",
            0,
            1,
            lambda: kv_pb2.GetRequest(keyspace="default", key=KEY, epoch=1).SerializeToString(),
        ),
        Layer("client: parse a receipt", 1, 0, lambda: receipt_from(kv_pb2.WriteReceipt.FromString(written))),
        Layer(
            "client: the same, and look into it",
            0,
            0,
            lambda: receipt_from(kv_pb2.WriteReceipt.FromString(written)).dot,
        ),
        Layer("client: parse an item", 0, 1, lambda: item_of(kv_pb2.GetResponse.FromString(read))),
        Layer("service: parse a put", 1, 0, lambda: kv_pb2.PutRequest.FromString(request)),
        Layer("service: parse a get", 0, 1, lambda: kv_pb2.GetRequest.FromString(get_request)),
        Layer("service: request of a put", 1, 0, lambda: write_request(put, request, 5.0)),
        Layer("service: request of a get", 0, 1, lambda: read_request(get, 5.0)),
        Layer("service: bytes of a receipt", 1, 0, lambda: receipt_bytes(receipt)),
        Layer("service: bytes of an item", 0, 1, lambda: result_bytes(result)),
    ]


def _replica_messages(encoded: bytes) -> list[Layer]:
    """Messages of the requests of one frame to one owner."""
    keyspace, epoch, keys = KeyspaceId(1, 0), Epoch(1), [KEY] * FRAME
    apply = ApplyMany(epoch, keyspace, Durability.SYNCED, keys, [encoded] * FRAME)
    held = ApplyManyAnswer([epoch] * FRAME, Durability.SYNCED, HybridTime(1 << 60))
    read = ReadMany(epoch, keyspace, keys)
    answer = ReadManyAnswer([epoch] * FRAME, [encoded] * FRAME, [HybridTime(0)] * FRAME)
    packed = apply.encode(), held.encode(), read.encode(), answer.encode()
    return [
        Layer("replica: encode an apply", 2, 0, apply.encode, each=FRAME),
        Layer("replica: decode an apply", 2, 0, lambda: ApplyMany.decode(packed[0]), each=FRAME),
        Layer("replica: encode its ack", 2, 0, held.encode, each=FRAME),
        Layer("replica: decode its ack", 2, 0, lambda: ApplyManyAnswer.decode(packed[1], FRAME), each=FRAME),
        Layer("replica: encode a read", 0, 1, read.encode, each=FRAME),
        Layer("replica: decode a read", 0, 1, lambda: ReadMany.decode(packed[2]), each=FRAME),
        Layer("replica: encode its answer", 0, 1, answer.encode, each=FRAME),
        Layer(
            "replica: decode its answer", 0, 1, lambda: ReadManyAnswer.decode(packed[3], FRAME), each=FRAME
        ),
    ]
