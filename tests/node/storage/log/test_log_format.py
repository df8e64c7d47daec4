"""What the records of a log mean, whichever way they are written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringmill.node.storage.batch import Batch
from ringmill.node.storage.log.framing import frame
from ringmill.node.storage.log.log_format import BatchGroup, encode_group, encode_header, read_log


@given(
    st.integers(1, 1 << 62),
    st.integers(0, 1 << 20),
    st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=5),
)
def test_a_group_tells_its_batches_their_sequences_and_what_was_durable(
    first: int, above: int, values: list[bytes]
) -> None:
    durable = max(0, first - above)
    batches = []
    for value in values:
        batch = Batch()
        batch.put(b"key", value)
        batches.append(batch.encode())
    data = frame(7, 0, encode_header(7, first))
    data += frame(7, len(data), encode_group(durable, first, batches))
    *_, (_, _, group) = read_log(7, data)
    assert isinstance(group, BatchGroup)
    assert (group.durable, group.first_sequence, group.count) == (durable, first, len(batches))
    found = [(sequence, group.payload[start:end]) for sequence, start, end in group.batches()]
    assert found == list(enumerate(batches, start=first))
