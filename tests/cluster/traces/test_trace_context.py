"""The place of a request in a trace, as W3C Trace Context writes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.traces.trace_context import TRACE_BYTES, TraceContext

contexts = st.builds(
    TraceContext,
    st.binary(min_size=16, max_size=16).filter(any),
    st.binary(min_size=8, max_size=8).filter(any),
    st.integers(0, 255),
)
TEXT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"  # the example of the standard


@given(contexts)
def test_it_comes_out_as_it_went_in(context: TraceContext) -> None:
    assert len(context.encode()) == TRACE_BYTES
    assert TraceContext.decode(context.encode()) == context == TraceContext.parse(context.text)


def test_the_example_of_the_standard_is_read() -> None:
    context = TraceContext.parse(TEXT)
    assert context is not None and context.is_sampled
    assert (context.trace_id.hex(), context.span_id.hex()) == tuple(TEXT.split("-")[1:3])


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT.upper(),
        TEXT[:-1],
        TEXT.replace("00-", "ff-", 1),
        f"{TEXT}-more",  # of version 00
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
    ],
)
def test_an_invalid_header_is_ignored(text: str) -> None:
    assert TraceContext.parse(text) is None


def test_a_later_version_may_say_more() -> None:
    assert TraceContext.parse(f"{TEXT.replace('00-', '01-', 1)}-more") == TraceContext.parse(TEXT)


@given(st.binary(max_size=40).filter(lambda carried: len(carried) != TRACE_BYTES))
def test_bytes_of_another_length_are_not_a_context(carried: bytes) -> None:
    assert TraceContext.decode(carried) is None
