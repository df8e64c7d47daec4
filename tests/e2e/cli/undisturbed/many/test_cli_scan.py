"""Scans typed in a shell at five real processes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import ringmill

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Ended, Shell

NAMES = [f"scanned:{number:02d}" for number in range(30)]


def put_all(shell: Shell) -> None:
    with ringmill.Client(endpoints(shell)) as db:
        ringmill.raise_first(db.mput({name: name.upper().encode() for name in NAMES}))


def endpoints(shell: Shell) -> list[str]:
    return [one["address"] for one in shell.ok("cluster", "status", "-o", "json").json["nodes"]]


def lines(ended: Ended) -> list[dict[str, object]]:
    return [json.loads(line) for line in ended.out.splitlines()]


def test_a_scan_prints_keys_and_values(shell: Shell) -> None:
    put_all(shell)
    shell.ok("put", "other", "x")
    rows = shell.ok("scan", "--prefix", "scanned:").out.decode().splitlines()
    assert sorted(rows) == [f"{name}\t{name.upper()}" for name in NAMES]
    some = shell.ok("scan", "--from", "scanned:05", "--to", "scanned:08", "--keys-only", "-o", "raw").out
    assert sorted(some.decode().split()) == NAMES[5:8]
    found = lines(shell.ok("scan", "--prefix", "scanned:1", "-o", "json"))
    assert {one["key"]: one["value"] for one in found} == {name: name.upper() for name in NAMES[10:20]}
    assert all(one["context"] for one in found)


def test_a_limited_scan_goes_on_with_its_cursor(shell: Shell) -> None:
    put_all(shell)
    first = lines(shell.ok("scan", "--prefix", "scanned:", "--limit", "7", "-o", "json"))
    cursor = first.pop()["cursor"]
    assert len(first) == 7
    rest = lines(shell.ok("scan", "--cursor", str(cursor), "-o", "json"))
    assert sorted(str(one["key"]) for one in [*first, *rest]) == NAMES
    assert b"scan --cursor " in shell.ok("scan", "--limit", "1").err.encode()


def test_what_a_scan_refuses(shell: Shell) -> None:
    assert shell.run("scan", "--keyspace", "registers").code == 1
    assert shell.run("scan", "--cursor", "AAAA").code == 2
    assert shell.run("scan", "-o", "raw").code == 2
    assert shell.run("scan", "--limit", "0").code == 2


def test_bytes_that_are_no_text_are_shown_in_a_way_that_can_be_read_back(shell: Shell) -> None:
    shell.ok("put", "6279746573ff5c09", "00ff", "--hex")
    assert shell.ok("scan", "--prefix", "bytes").out == rb"bytes\xff\\\t" + b"\t" + rb"\x00\xff" + b"\n"
    assert shell.ok("scan", "--prefix", "6279746573", "--hex").out == b"6279746573ff5c09\t00ff\n"
    (found,) = lines(shell.ok("scan", "--prefix", "bytes", "-o", "json"))
    assert found["key_b64"] and found["value_b64"]


def test_both_clients_iterate(shell: Shell) -> None:
    put_all(shell)
    with ringmill.Client(endpoints(shell)) as db:
        scan = db.scan(prefix="scanned:", limit=20)
        some = [key for key, _ in scan]
        assert len(some) == 20 and scan.cursor
        rest = {key: item.value for key, item in db.scan(cursor=scan.cursor)}
        assert sorted([*some, *rest]) == [name.encode() for name in NAMES]
        broken_off = db.scan(prefix="scanned:")
        next(broken_off)
        again = [key for key, _ in db.scan(prefix="scanned:", cursor=broken_off.cursor or None)]
        assert len(again) == 30, "it had not taken all of the first page"
