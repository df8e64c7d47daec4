"""What a user sees of keys and values, typed in a shell at five real processes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING
from zlib import crc32

import msgpack

from ringmill.client.values import CausalContext

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell


def test_what_is_put_is_read_and_the_receipt_names_two_synced_owners(shell: Shell) -> None:
    receipt = shell.ok("put", "user:42", "Ada", "-o", "json").json
    owners = [one for one in receipt["replicas"] if one["role"] == "owner"]
    assert len(owners) >= 2 and {one["durability"] for one in owners} == {"synced"}
    assert receipt["w"] == 2 and receipt["epoch"] >= 1 and receipt["context"]
    item = shell.ok("get", "user:42", "-o", "json").json
    assert (item["value"], item["dots"]) == ("Ada", [receipt["dot"]])
    assert len(item["answered"]) >= 2
    assert shell.ok("get", "user:42").out == b"Ada\n"


def test_bytes_come_back_as_they_were(shell: Shell) -> None:
    data = bytes(range(256)) * 100
    shell.ok("put", "blob", "-", stdin=data)
    assert shell.ok("get", "blob", "-o", "raw").out == data
    (shell.folder / "file").write_bytes(data[::-1])
    shell.ok("put", "blob", "--file", "file")
    assert shell.ok("get", "blob", "-o", "raw").out == data[::-1]
    shell.ok("put", "00ff", "ff00", "--hex")
    assert shell.ok("get", "00ff", "--hex").out == b"ff00\n"


def test_two_writers_with_the_same_old_context_make_siblings_and_a_merge_leaves_one(shell: Shell) -> None:
    old = shell.ok("put", "basket", "empty", "-o", "json").json["context"]
    shell.ok("put", "basket", "A", "--context", old)
    shell.ok("put", "basket", "B", "--context", old)
    both = shell.ok("get", "basket", "-o", "json").json
    assert sorted(one["value"] for one in both["siblings"]) == ["A", "B"]
    refused = shell.run("get", "basket", "-o", "raw")
    assert refused.code == 1 and "--sibling" in refused.err
    assert shell.ok("get", "basket", "-o", "raw", "--sibling", "2").out in (b"A", b"B")
    shell.ok("put", "basket", "A+B", "--context", both["context"])
    assert shell.ok("get", "basket").out == b"A+B\n"


def test_a_context_that_names_writes_to_come_is_refused_by_whichever_owner_takes_the_put(
    shell: Shell,
) -> None:
    """A node that takes one hides the key from then on: the same writer, with counts not reached yet."""
    given = CausalContext.parse(shell.ok("put", "forged", "kept", "-o", "json").json["context"]).token
    head, seal = given[:9], given[-16:-4]  # docs/formats/context_token.md
    clock, entries = msgpack.unpackb(given[9:-16])
    for count in (2, 1 << 20, (1 << 63) - 1, 1 << 63):
        told = head + msgpack.packb((clock, [[actor, count] for actor, _ in entries]))
        for mark in (seal, bytes(12)):
            token = CausalContext(told + mark + crc32(told + mark).to_bytes(4, "big")).text
            assert shell.run("put", "forged", "lost", "--context", token).code != 0
    assert shell.ok("get", "forged", "-o", "json").json["value"] == "kept"
    shell.ok("put", "forged", "next")
    assert shell.ok("get", "forged", "-o", "json").json["value"] == "next"


def test_a_put_without_context_overwrites_and_one_with_no_context_does_not(shell: Shell) -> None:
    shell.ok("put", "note", "1")
    shell.ok("put", "note", "2")
    assert shell.ok("get", "note").out == b"2\n"
    shell.ok("put", "note", "3", "--no-context")
    assert sorted(shell.ok("get", "note").out.split()) == [b"2", b"3"]


def test_a_deleted_key_is_not_found(shell: Shell) -> None:
    shell.ok("put", "gone", "soon")
    shell.ok("delete", "gone")
    missing = shell.run("get", "gone")
    assert (missing.code, missing.out) == (3, b"") and "not found" in missing.err


def test_locate_shows_three_owners_and_what_each_holds(shell: Shell) -> None:
    dot = shell.ok("put", "here", "x", "-w", "all", "-o", "json").json["dot"]
    place = shell.ok("locate", "here", "-o", "json").json
    assert [owner["dots"] for owner in place["owners"]] == [[dot]] * 3
    assert all(owner["same"] for owner in place["owners"])
    assert len(place["fallbacks"]) == 2 and 0 <= place["partition"] < 256


def test_locate_marks_what_no_reader_is_shown(shell: Shell) -> None:
    shell.ok("put", "buried", "x")
    shell.ok("delete", "buried", "-w", "all")
    assert shell.ok("locate", "buried").out.count(b" deleted\t") == 3
    shell.ok("put", "brief", "x", "--ttl", "100ms", "-w", "all")
    shell.ok("put", "long", "x", "--ttl", "100d", "-w", "all")
    deadline = time.monotonic() + 30
    while shell.run("get", "brief").code != 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert shell.ok("locate", "brief").out.count(b" expired\t") == 3
    assert shell.ok("locate", "long").out.count(b" expires in 99 d 23 h\t") == 3
    owner = shell.ok("locate", "long", "-o", "json").json["owners"][0]
    assert owner["tombstones"] == [False] and owner["expires_at_ms"][0] > time.time() * 1000


def test_a_deadline_that_is_missed_is_5_however_short(shell: Shell) -> None:
    missed = shell.run("get", "k", "--timeout", "1ms", "-o", "json")
    assert (missed.code, missed.error["code"]) == (5, "DEADLINE_EXCEEDED")
    assert shell.run("put", "k", "v", "--timeout", "1ms").code == 5


def test_a_key_that_steers_terminals_is_shown_escaped(shell: Shell) -> None:
    shell.ok("put", "esc\x1b[31mred", "v\x1b[0m")
    assert b"\x1b" not in shell.ok("put", "esc\x1b[31mred", "v\x1b[0m").out
    assert shell.ok("get", "esc\x1b[31mred", "-o", "raw").out == b"v\x1b[0m"
    missing = shell.run("get", "no\x1b[31m")
    assert missing.code == 3 and "\x1b" not in missing.err and "locate --hex 6e6f1b5b33316d" in missing.err
    dashed = shell.run("put", "n", "-5")
    assert dashed.code == 2 and "put n -- -5" in dashed.err
    shell.ok("put", "n", "--", "-5")
    assert shell.ok("get", "n").out == b"-5\n"


def test_bad_input_is_one_clear_error_each(shell: Shell) -> None:
    too_long = shell.run("put", "k" * 1025, "v")
    assert too_long.code == 2 and "1025 bytes, the limit is 1024" in too_long.err
    too_big = shell.run("put", "big", "-", stdin=bytes(2 * 2**20))
    assert too_big.code == 2 and str(2**20) in too_big.err  # found before anything was sent, too
    unknown = shell.run("get", "k", "--keyspace", "nowhere", "-o", "json")
    assert unknown.code == 2 and "nowhere" in unknown.error["message"]
    foreign = shell.ok("put", "one", "1", "-o", "json").json["context"]
    assert shell.run("put", "another", "1", "--context", foreign).code == 1
    assert shell.run("put", "k", "v", "--context", "???").code == 2
    too_many = shell.run("put", "k", "v", "-w", "9")
    assert too_many.code == 1 and "--help" not in too_many.err  # refused by the cluster, which knows N
    assert shell.run("put", "k", "v", "-w", "two").code == 2  # found before anything was sent
    for refused in (too_long, too_big, too_many):
        assert len(refused.err.splitlines()) == 3
    shell.until_healthy()


def test_a_reader_that_goes_away_is_not_an_error(shell: Shell) -> None:
    process = shell.start("--help")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_session_in_a_file_sees_its_own_weak_writes_and_is_only_its_owner_s(shell: Shell) -> None:
    for number in range(5):
        shell.ok("put", "mine", str(number), "-w", "one", "--session", "session")
        assert shell.ok("get", "mine", "-r", "one", "--session", "session").out == b"%d\n" % number
    shell.ok("delete", "mine", "-w", "one", "--session", "session")
    assert shell.run("get", "mine", "-r", "one", "--session", "session").code == 3
    file = shell.folder / "session"
    assert file.stat().st_mode & 0o777 == 0o600
    assert not list(shell.folder.glob("session.*"))
    file.write_bytes(b"no session")
    refused = shell.run("get", "mine", "--session", "session")
    assert refused.code == 2 and "--session session: the session token is not a session token" in refused.err
    assert file.read_bytes() == b"no session"


def test_a_watch_prints_what_is_there_what_comes_and_goes_on_after_a_context(shell: Shell) -> None:
    first = shell.ok("put", "watched", "1", "-o", "json").json["context"]
    assert shell.ok("watch", "watched", "--count", "1").out == b"1\n"
    following = shell.start("watch", "watched", "--after", first, "--count", "2", "-o", "json")
    assert following.stdout is not None
    shell.ok("put", "watched", "2")
    line = json.loads(following.stdout.readline())
    assert (line["key"], line["value"], line["deleted"]) == ("watched", "2", False)
    shell.ok("delete", "watched")
    out, err = following.communicate(timeout=60)
    assert following.returncode == 0, err
    assert json.loads(out)["deleted"] is True


def test_a_touch_changes_how_long_a_value_lives_and_a_get_tells_it(shell: Shell) -> None:
    assert shell.run("touch", "session", "--ttl", "1h").code == 3
    shell.ok("put", "session", "v", "--ttl", "60s")
    assert 0 < shell.ok("get", "session", "-o", "json").json["ttl"] <= 60
    shell.ok("touch", "session", "--ttl", "2h")
    assert 7000 < shell.ok("get", "session", "-o", "json").json["ttl"] <= 7200
    assert "expires in 1 h 59 m" in shell.ok("get", "session", "--info").err
    shell.ok("touch", "session", "--no-ttl", "--session", "seen")
    told = shell.ok("get", "session", "--info", "--session", "seen")
    assert told.out == b"v\n" and "never expires" in told.err
    assert shell.run("touch", "session").code == 2
