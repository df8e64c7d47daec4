"""Sources as callers send them: what is taken, and what is refused before anything is written."""

from __future__ import annotations

import io
import zipfile

import pytest

from ringmill.client.gateway.jobs.sent_sources import MOST_SOURCE_BYTES, plain_sources
from ringmill.cluster.errors import InvalidArgument


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def test_files_and_zip_files_are_one_set_of_sources() -> None:
    sent = {"job.py": b"a", "shop.zip": zipped({"shop/__init__.py": b"", "shop/maps.py": b"b"})}
    assert plain_sources(sent) == {"job.py": b"a", "shop/__init__.py": b"", "shop/maps.py": b"b"}


def damaged(method: int) -> bytes:
    """A zip file whose one entry no longer unpacks."""
    whole = bytearray(zipped({"a.py": bytes(range(256)) * 8}, method))
    whole[45:65] = b"\xff" * 20
    return bytes(whole)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"../job.py": b""}, "is not a plain one"),
        ({"/etc/job.py": b""}, "is not a plain one"),
        ({"a//b.py": b""}, "is not a plain one"),
        ({"a\\b.py": b""}, "is not a plain one"),
        ({"": b""}, "is not a plain one"),
        ({"x.zip": zipped({"../../job.py": b""})}, "is not a plain one"),
        ({"job.py": b"", "x.zip": zipped({"job.py": b""})}, "have 'job.py' twice"),
        ({"__init__.py": b""}, "__init__.py at the top"),
        ({"x.zip": b"PK no zip"}, "'x.zip' is not a zip file that can be read"),
        ({"x.zip": zipped({"a.py": b"a" * 100})[:-30]}, "'x.zip' is not a zip file that can be read"),
        ({"x.zip": damaged(zipfile.ZIP_BZIP2)}, "'x.zip' is not a zip file that can be read"),
        ({"x.zip": damaged(zipfile.ZIP_LZMA)}, "'x.zip' is not a zip file that can be read"),
        ({"a": b"", "a/b.py": b""}, "have 'a' as a file and as a folder"),
        ({"a/b.py": b"", "a": b""}, "have 'a' as a file and as a folder"),
        ({"a" * 256 + ".py": b""}, "is not a plain one"),
        ({"x.zip": zipped({"a.py": bytes(MOST_SOURCE_BYTES + 1)})}, "more than 8388608 bytes unpacked"),
        ({"x.zip": zipped({f"m{at}.py": b"" for at in range(2001)})}, "more than 2000 files"),
    ],
)
def test_what_is_wrong_is_named(sent: dict[str, bytes], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told.replace("(", r"\(")):
        plain_sources(sent)
