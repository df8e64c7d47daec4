"""Metrics as text: valid in both formats, over a port that answers nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed_text

from ringmill.cluster.access.raw_tokens import TOKEN_KEY, raw_caller
from ringmill.cluster.adapters.network.http import page_port
from ringmill.cluster.adapters.network.http.exposition import Exposition
from ringmill.cluster.adapters.network.http.page_port import MOST_CONNECTIONS, PagePort, ServedText
from ringmill.cluster.errors import InvalidArgument, PermissionDenied, Unavailable
from ringmill.cluster.meters.family import Family, Sample, by_label, counter, gauge, histogram
from ringmill.cluster.meters.histogram import Histogram
from tests.log_records import own_records
from tests.ports import free_port

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def families() -> Sequence[Family]:
    times = Histogram(2)
    for ns in (1_000, 1_500_000, 1_600_000, 40_000_000_000):
        times.record(ns)
    return [
        Family("build", "info", "What runs", [Sample(1.0, {"version": '1 "x"\n'})], ("version",)),
        counter("puts_total", "Puts", 3),
        gauge("offset_seconds", "Not known", None),
        by_label("gauge", "hints_waiting", "Hints", "target", {"n2": 4.0}),
        histogram("duration_seconds", "Times", times),
    ]


def test_both_formats_parse_and_say_the_same() -> None:
    exposition = Exposition(families)
    text, openmetrics = exposition.text("")[0].decode(), exposition.text(OPENMETRICS)[0].decode()
    for found in (
        {each.name: each for each in parsed_text(text)},
        {each.name: each for each in parsed_openmetrics(openmetrics)},  # type: ignore[no-untyped-call]
    ):
        assert found["ringmill_puts"].samples[0].value == 3
        assert found["ringmill_hints_waiting"].samples[0].labels == {"target": "n2"}
        assert not found["ringmill_offset_seconds"].samples
        times = {
            float(each.labels["le"]): each.value
            for each in found["ringmill_duration_seconds"].samples
            if each.name.endswith("_bucket")
        }
        assert times[math.inf] == 4
        assert next(at for at, count in times.items() if count >= 3) <= 0.0016 * 1.5
        assert list(times.values()) == sorted(times.values()) and times[max(set(times) - {math.inf})] == 3
        assert "process_cpu_seconds" in found
    assert openmetrics.endswith("# EOF\n")


@pytest.mark.parametrize("kind", ["text/plain", "application/openmetrics-text"])
@pytest.mark.parametrize("version", ["x", "1..0", "=", "²"])
def test_a_version_that_is_not_a_number_is_answered_with_plain_text(kind: str, version: str) -> None:
    text, content_type = Exposition(families).text(f"{kind};version={version}")
    assert b"ringmill_puts_total 3.0" in text and content_type.startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize(
    ("raised", "status"),
    [(None, 200), (PermissionDenied("a token is missing"), 401), (Unavailable("no"), 503)],
)
async def test_the_port_answers_one_path(raised: Exception | None, status: int) -> None:
    def make(token: str, accept: str) -> ServedText:
        if raised is not None:
            raise raised
        assert (token, accept) == ("sesame", "text/plain")
        return ServedText(b"ringmill_up 1\n", "text/plain; version=0.0.4")

    address = f"127.0.0.1:{free_port()}"
    headers = {"Authorization": "Bearer sesame", "Accept": "text/plain"}
    async with PagePort(address, "/metrics", make), aiohttp.ClientSession(f"http://{address}") as caller:
        async with caller.get("/metrics", headers=headers) as answer:
            assert answer.status == status
            if status == 200:
                assert await answer.read() == b"ringmill_up 1\n"
                assert answer.headers["Content-Type"] == "text/plain; version=0.0.4"
        for method, path, refused in (("GET", "/", 404), ("POST", "/metrics", 405)):
            async with caller.request(method, path) as answer:
                assert answer.status == refused
        with pytest.raises(InvalidArgument, match=f"cannot listen on {address}"):
            await PagePort(address, "/metrics", make).__aenter__()


PAGE = ServedText(b"1\n", "text/plain")


async def answered(host: str, port: int) -> bytes:
    async with aiohttp.ClientSession(f"http://{host}:{port}") as caller, caller.get("/metrics") as answer:
        return await answer.read()


async def test_whoever_holds_connections_open_takes_a_bounded_number_of_them() -> None:
    host, port = "127.0.0.1", free_port()
    async with PagePort(f"{host}:{port}", "/metrics", lambda token, accept: PAGE):
        held = [await asyncio.open_connection(host, port) for _ in range(MOST_CONNECTIONS)]
        held.append(await asyncio.open_connection(host, port))
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(held[0][0].read(), 10) == b"", "the one that was silent for longest"
        assert await answered(host, port) == b"1\n"
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(held[1][0].read(), 10) == b""
        assert not any(reader.at_eof() or reader.exception() for reader, _ in held[2:])
        for _, open_one in held:
            open_one.close()


async def test_whoever_connects_and_sends_half_a_request_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_port, "HEAD_S", 0.5)
    host, port = "127.0.0.1", free_port()
    async with PagePort(f"{host}:{port}", "/metrics", lambda token, accept: PAGE):
        asking = await asyncio.open_connection(host, port)
        asking[1].write(b"GET /metrics HTTP/1.1\r\nHost: n1\r\n\r\n")
        assert (await asking[0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        monkeypatch.setattr(page_port, "HEAD_S", 0.1)
        silent, half = [await asyncio.open_connection(host, port) for _ in range(2)]
        half[1].write(b"GET /metrics HTTP/1.1\r\nHost: ")
        for reader, _ in (silent, half):
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
        await asyncio.sleep(0.5)
        asking[1].write(b"GET /metrics HTTP/1.1\r\nHost: n1\r\n\r\n")
        assert b"HTTP/1.1 200 " in await asking[0].readuntil(b"\r\n\r\n"), "between two requests it is kept"
        for _, writer in (silent, half, asking):
            writer.close()


async def test_malformed_requests_and_tokens_are_answered_and_fill_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    host, port = "127.0.0.1", free_port()

    def make(token: str, accept: str) -> ServedText:
        raw_caller("sesame", {TOKEN_KEY: token})
        return PAGE

    wrong = b"GET /metrics HTTP/1.1\r\nHost: n1\r\nAuthorization: Bearer \xff\r\nConnection: close\r\n\r\n"
    malformed = b"GET /metrics HTTP/1.1\r\nHost: n1\r\nno field\r\n\r\n"
    async with PagePort(f"{host}:{port}", "/metrics", make):
        for sent, status in [(wrong, b"HTTP/1.1 401 "), *[(malformed, b"HTTP/1.0 400 ")] * 20]:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(sent)
            assert (await asyncio.wait_for(reader.read(), 10)).startswith(status)
            writer.close()
    assert own_records(caplog) == []
    assert not [record for record in caplog.records if record.name.startswith("aiohttp")]


async def test_a_page_that_cannot_be_made_is_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    host, port = "127.0.0.1", free_port()

    def make(token: str, accept: str) -> ServedText:
        raise ValueError("no figure")

    async with (
        PagePort(f"{host}:{port}", "/metrics", make),
        aiohttp.ClientSession() as caller,
        caller.get(f"http://{host}:{port}/metrics") as answer,
    ):
        assert answer.status == 500
    assert [record.message for record in own_records(caplog)] == ["a page could not be made"]
