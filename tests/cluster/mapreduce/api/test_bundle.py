"""What goes into a bundle, and what is refused."""

from __future__ import annotations

import io
import zipfile
from contextlib import suppress
from hashlib import sha256

import pytest

from ringmill.cluster.errors import CorruptData, InvalidArgument
from ringmill.cluster.mapreduce.api.bundle import build_bundle, check_bundle

FOLDER = {
    "job.py": b"import json\nfrom shapes import area\nfrom pack.deep import leaf\ndef f():\n import late\n",
    "shapes.py": b"import math\n",
    "late.py": b"",
    "unused.py": b"import nothing_at_all\n",
    "pack/__init__.py": b"from . import side\n",
    "pack/side.py": b"",
    "pack/deep/__init__.py": b"",
    "pack/deep/leaf.py": b"from ...pack.side import x\nfrom .. import side\nimport numpy\n",
}


def test_a_bundle_holds_what_is_imported_from_the_jobs_folder_and_nothing_else() -> None:
    bundle = build_bundle("job", FOLDER.get)
    assert bundle.files == tuple(sorted(set(FOLDER) - {"unused.py"}))
    with zipfile.ZipFile(io.BytesIO(bundle.data)) as archive:
        assert archive.read("shapes.py") == FOLDER["shapes.py"]


def test_equal_sources_give_equal_bytes_and_any_change_another_hash() -> None:
    first = build_bundle("job", FOLDER.get)
    assert build_bundle("job", dict(reversed(FOLDER.items())).get) == first
    assert build_bundle("job", {**FOLDER, "late.py": b"#"}.get).sha256 != first.sha256
    check_bundle(first.data, first.sha256)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"job.py": b"import ringmill", "ringmill.py": b""}, "ringmill's own 'ringmill'"),
        ({"job.py": b"import ringmill.thing", "ringmill/thing.py": b""}, "ringmill's own 'ringmill'"),
        ({"job.py": b"import types", "types.py": b""}, "Python's own 'types'"),
        ({"job.py": b"def f(:\n"}, "job.py:1 does not parse"),
        ({}, "no module job"),
    ],
)
def test_shadows_and_broken_sources_are_refused_by_name(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        build_bundle("job", files.get)


def test_bytes_that_are_not_the_announced_bundle_are_refused() -> None:
    bundle = build_bundle("job", FOLDER.get)
    with pytest.raises(CorruptData, match="announced"):
        check_bundle(bundle.data + b"x", bundle.sha256)
    with pytest.raises(InvalidArgument, match="no bundle"):
        check_bundle(b"rubbish", sha256(b"rubbish").hexdigest())


def zipped(*entries: tuple[str, bytes, int], comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = comment
        for name, content, method in entries:
            archive.writestr(name, content, method)
    return buffer.getvalue()


STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
LARGE = bytes(17 << 20)
MARK = ("RINGMILL-BUNDLE", b"version 1\n", STORED)


@pytest.mark.parametrize(
    ("what", "data", "message"),
    [
        ("a path that climbs", zipped(MARK, ("../evil.py", b"", STORED)), "leaves its folder"),
        ("an absolute path", zipped(MARK, ("/evil.py", b"", STORED)), "leaves its folder"),
        ("a backslash", zipped(MARK, ("..\\evil.py", b"", STORED)), "leaves its folder"),
        ("a source that is a bomb", zipped(MARK, ("job.py", LARGE, DEFLATED)), "unpacks to 2 files"),
        ("a marker that is one", zipped(("RINGMILL-BUNDLE", LARGE, DEFLATED)), "unpacks to 1 files"),
        ("a small compressed file", zipped(MARK, ("job.py", b"x" * 99, DEFLATED)), "are not compressed"),
        ("files without end", zipped(MARK, *((f"{i:0600}", b"", STORED) for i in range(2001))), "lists more"),
        ("a comment", zipped(MARK, comment=b"PK"), "do not end as one"),
        ("the 64-bit form", b"PK\x06\x07" + bytes(16) + zipped(MARK)[-22:], "do not end as one"),
    ],
)  # fmt: skip
def test_a_bundle_that_leaves_its_folder_or_unpacks_to_too_much_is_refused_unread(
    monkeypatch: pytest.MonkeyPatch, what: str, data: bytes, message: str
) -> None:
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail(f"{what} was unpacked"))
    with pytest.raises(InvalidArgument, match=message):
        check_bundle(data, sha256(data).hexdigest())


def test_a_bundle_with_any_byte_changed_is_refused_by_name_or_taken() -> None:
    data = zipped(MARK, ("job.py", b"x = 1\n", STORED))
    for at in range(len(data)):
        for changed in (data[at] ^ 1, data[at] ^ 0x80, 0xFF):
            crafted = data[:at] + bytes([changed]) + data[at + 1 :]
            with suppress(InvalidArgument):
                check_bundle(crafted, sha256(crafted).hexdigest())


@pytest.mark.parametrize(("at", "value"), [(20, (10_000_000).to_bytes(4, "little") * 2), (8, b"\1\0")])
def test_sizes_and_flags_that_are_not_so_are_refused_by_name(at: int, value: bytes) -> None:
    data = zipped(MARK)
    start = data.index(b"PK\1\2") + at  # of the entry in the list of files
    crafted = data[:start] + value + data[start + len(value) :]
    with pytest.raises(InvalidArgument, match="are no bundle"):
        check_bundle(crafted, sha256(crafted).hexdigest())
