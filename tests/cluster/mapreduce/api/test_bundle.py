"""What goes into a bundle, and what is refused."""

from __future__ import annotations

import io
import zipfile
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


def test_a_path_out_of_the_folder_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("RINGMILL-BUNDLE", "version 1\n")
        archive.writestr("../evil.py", "")
    data = buffer.getvalue()
    with pytest.raises(InvalidArgument, match="leaves its folder"):
        check_bundle(data, sha256(data).hexdigest())
