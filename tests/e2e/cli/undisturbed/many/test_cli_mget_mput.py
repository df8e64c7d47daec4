"""Many keys in one command, typed in a shell at five real processes."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Ended, Shell


def lines(ended: Ended) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.out.splitlines()]


def test_pairs_are_written_and_read_back_in_order(shell: Shell) -> None:
    written = shell.ok("mput", "m:1=Ada", "m:2=a=b", "m:3=")
    assert [line.split(b"\t")[:2] for line in written.out.splitlines()] == [
        [b"OK", b"m:1"], [b"OK", b"m:2"], [b"OK", b"m:3"]
    ]  # fmt: skip
    assert shell.ok("mget", "m:2", "m:1", "m:3").out == b"m:2\ta=b\nm:1\tAda\nm:3\t\n"


def test_each_key_has_an_outcome_and_the_worst_one_is_the_exit_code(shell: Shell) -> None:
    shell.ok("mput", "m:1=Ada")
    some = shell.run("mget", "m:1", "m:nope")
    assert (some.code, some.out) == (3, b"m:1\tAda\n")
    assert "m:nope: not found" in some.err
    found = shell.run("mget", "m:1", "m:nope", "-o", "json")
    first, second = lines(found)
    assert (found.code, first["value"], second["error"]["code"]) == (3, "Ada", "NOT_FOUND")
    refused = shell.run("mput", "m:1=Bob", "m:4=x", "-w", "9", "-o", "json")
    assert refused.code == 1
    assert {line["error"]["code"] for line in lines(refused)} == {"INVALID_ARGUMENT"}


def test_what_a_scan_prints_is_what_mput_reads(shell: Shell) -> None:
    data = {b"copy:%d" % number: bytes(range(number, 256, 7)) for number in range(20)}
    hex_pairs = [f"{key.hex()}={value.hex()}" for key, value in data.items()]
    shell.ok("mput", "--hex", *hex_pairs)
    for form in ("tsv", "jsonl"):
        flags = ("-o", "json") if form == "jsonl" else ()
        dump = shell.ok("scan", "--prefix", "copy:", *flags).out
        for key in data:
            shell.ok("delete", key.decode())
        assert shell.ok("scan", "--prefix", "copy:").out == b""
        shell.ok("mput", "-", "--format", form, stdin=dump)
        found = shell.ok("scan", "--prefix", b"copy:".hex(), "--hex").out.decode().split()
        assert sorted(found) == sorted(
            word for key, value in data.items() for word in (key.hex(), value.hex())
        )


def test_a_long_input_is_cut_into_batches(shell: Shell) -> None:
    pairs = "".join(f"long:{number:04d}\t{number}\n" for number in range(2500)).encode()
    shell.ok("mput", "-", stdin=pairs)
    keys = "".join(f"long:{number:04d}\n" for number in range(2500)).encode()
    assert shell.ok("mget", "-", stdin=keys).out == pairs
    assert (
        len(shell.ok("--timeout", "60s", "scan", "--prefix", "long:", "--keys-only").out.splitlines()) == 2500
    )


def test_what_is_not_a_pair_is_refused_with_its_line(shell: Shell) -> None:
    for form, line in (("tsv", b"a"), ("jsonl", b"{"), ("jsonl", b'{"key": "a"}'), ("pairs", b"a")):
        refused = shell.run("mput", "-", "--format", form, stdin=b"")
        assert refused.code == 0
        refused = shell.run("mput", "-", "--format", form, stdin=line + b"\n")
        assert refused.code == 2 and "line 1 of stdin" in refused.err, form
    assert shell.run("mput", "pair").code == 2
    assert shell.run("mget").code == 2


def test_get_takes_several_keys_and_watches_one(shell: Shell) -> None:
    shell.ok("mput", "g:1=Ada", "g:2=Bob")
    assert shell.ok("get", "g:2", "g:1").out == b"g:2\tBob\ng:1\tAda\n"
    assert shell.run("get", "g:1", "g:nope").code == 3
    for flags, said in {
        ("--sibling", "1"): "--sibling is for one key",
        ("--info",): "--info is for one key",
        ("--watch",): "--watch takes one key, not 2",
    }.items():
        refused = shell.run("get", "g:1", "g:2", *flags)
        assert refused.code == 2 and said in refused.err, refused
    watching = shell.start("get", "g:1", "--watch")
    assert watching.stdout is not None
    assert watching.stdout.readline() == b"Ada\n"
    shell.ok("put", "g:1", "Eve")
    assert watching.stdout.readline() == b"Eve\n"
    watching.send_signal(signal.SIGINT)
    watching.communicate()
    assert watching.returncode == 130
