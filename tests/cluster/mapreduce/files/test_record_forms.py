"""What a function declares is what it gets, in whichever words it says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NewType, get_args, get_origin

import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.mapreduce.chance import TaskRandom
from ringmill.cluster.mapreduce.codecs.record_forms import BATCH_FORMS, RECORD_FORMS, form_of
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.files.readers import SplitReader
from ringmill.cluster.mapreduce.files.splits import InputFile, Piece, Split

Row = NewType("Row", list[str])
Named = NewType("Named", dict[str, str])
Text = NewType("Text", str)
Data = NewType("Data", bytes)
Lines = NewType("Lines", list[bytes])

HINTS: list[Any] = [
    str, bytes, Text, Data, str | bytes, bytes | None, list, Sequence, Iterable, Any, object, dict, Mapping,
    list[str], list[bytes], list[Any], list[Text], list[Data], list[str] | bytes, Row, Named, Lines,
    Sequence[str], Sequence[bytes], Sequence[Any], Iterable[str], Iterable[bytes], dict[str, str],
    Mapping[str, str], dict[str, Any], list[list[str]], list[Row], list[Sequence[str]], list[list],  # type: ignore[type-arg]
    list[dict[str, str]], list[Named], list[dict], Sequence[Mapping[str, Any]], Iterable[list[str]],  # type: ignore[type-arg]
]  # fmt: skip
CONTENT = b"a,b\r\nc,d\r\n"


def given_of(files: OsFileSystem, path: Path, format: str, hint: Any, *, is_batch: bool) -> list[Any]:
    path.write_bytes(b'{"a": 1}\n' if format == "jsonl" else CONTENT)
    file = InputFile(str(path), path.stat().st_size, path.stat().st_mtime_ns)
    context = Context("map-0", TaskRandom("0/map-0"))
    split = Split(0, (Piece(file, 0, file.size),))
    reader = SplitReader(split, format, hint, files=files, context=context)
    if is_batch:
        return [batch for _, batch in reader.batches(hint)]
    return [value for block in reader.records() for _, value in block]


def is_of(value: Any, form: Any) -> bool:
    if form is Any:
        return True
    parts, kind = get_args(form), get_origin(form) or form
    held = value.values() if kind is dict else value
    return isinstance(value, kind) and (not parts or all(is_of(each, parts[-1]) for each in held))


@pytest.mark.parametrize("is_batch", [False, True])
def test_what_is_handed_out_is_of_the_form_that_the_hint_chooses(
    tmp_path: Path, files: OsFileSystem, is_batch: bool
) -> None:
    chosen = 0
    for format, forms in (BATCH_FORMS if is_batch else RECORD_FORMS).items():
        for hint in (*forms, *HINTS):
            form = form_of(format, hint, is_batch=is_batch)
            if form is None:
                continue
            chosen += 1
            given = given_of(files, tmp_path / "in", format, hint, is_batch=is_batch)
            told = format, hint, form, given
            assert given, told
            assert all(is_of(value, form) for value in given), told
            if format == "csv":
                rows = [row for batch in given for row in batch] if is_batch else given
                named = form in (dict[str, str], list[dict[str, str]])
                assert rows == ([{"a": "c", "b": "d"}] if named else [["a", "b"], ["c", "d"]]), told
            if format == "raw":
                lines = [b"".join(batch) if is_of(batch, list[bytes]) else batch for batch in given]
                assert b"".join(lines).replace(b"\n", b"") == CONTENT.replace(b"\n", b""), told
    assert chosen > 60


@pytest.mark.parametrize(
    ("format", "hint", "form"),
    [
        ("csv", Sequence[str], list[str]), ("csv", list, list[str]), ("csv", Iterable[str], list[str]),
        ("csv", list[Any], list[str]), ("csv", Row, list[str]), ("csv", Any, dict[str, str]),
        ("file", Data, bytes), ("file", Any, str), ("raw", str, None), ("parquet", Any, None),
    ],
)  # fmt: skip
def test_the_first_form_that_fits_is_chosen(format: str, hint: Any, form: Any) -> None:
    assert form_of(format, hint, is_batch=False) == form
