"""`ringmill engine inspect|verify|dump`: shows the files of a storage folder, as text or as JSON (-o json).

A composition root of its own: it opens the real files.  client/cli/engine_verbs.py checks the arguments and
starts `python -m ringmill.node.storage`.  Exit codes: 0 fine, 1 damage found or a file that cannot be read,
2 bad arguments, 3 nothing there, 130 interrupted.

The JSON of a command is one document, a list with one row per line.  Bytes are text when they are printable
UTF-8, else base64 under the same name with _b64.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from typing import NamedTuple, NoReturn

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.node.storage.check.inspect import Row, dump_file, inspect_folder, verify_folder
from ringmill.node.storage.storage_errors import CorruptBlock, NewerFormat

__all__ = ["main"]

_PREVIEW_BYTES = 40
_WHAT_IS_WANTED = "DATA/store of a node's data folder DATA"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


class _Failure(NamedTuple):
    code: int
    name: str
    message: str
    hint: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    files, is_json = OsFileSystem(), "json" in words
    try:
        parsed = _parser().parse_args(words)
        is_json = parsed.output == "json"
        return _run(files, parsed, is_json)
    except BrokenPipeError:
        with suppress(BrokenPipeError):
            sys.stdout.close()  # the reader has gone: without this the interpreter's last flush would fail
        return 0
    except (CorruptBlock, NewerFormat, OSError, ValueError, KeyboardInterrupt) as error:
        return _tell(_failure(error), is_json)
    finally:
        files.close()


def _failure(error: BaseException) -> _Failure:
    match error:
        case CorruptBlock():
            return _Failure(1, "CORRUPT_DATA", f"damage: {error}", "`ringmill engine verify` finds all of it")
        case NewerFormat():
            return _Failure(1, error.code, str(error), "look at it with the release that has written it")
        case FileNotFoundError() | NotADirectoryError():
            return _Failure(3, "NOT_FOUND", f"{error.filename} does not exist", _WHAT_IS_WANTED)
        case OSError():
            message = f"{error.filename or 'a file'}: {error.strerror or error}"
            return _Failure(1, "FILE_FAILED", message, _WHAT_IS_WANTED)
        case ValueError():
            return _Failure(2, "INVALID_ARGUMENT", str(error), "`ringmill engine --help`")
    return _Failure(130, "INTERRUPTED", "interrupted", "run it again; it only reads")


def _run(files: OsFileSystem, parsed: argparse.Namespace, is_json: bool) -> int:
    show = _write_json if is_json else _write_text
    if parsed.command == "inspect":
        show(inspect_folder(files, parsed.path))
    elif parsed.command == "dump":
        folder, _, name = parsed.path.rpartition("/")
        show(dump_file(files, folder or ".", name))
    else:
        rows = list(verify_folder(files, parsed.path))
        if not rows:
            raise FileNotFoundError(2, "no store", f"a store in {parsed.path}")
        show(rows)
        sys.stdout.flush()
        return 1 if any(row["damages"] for row in rows) else 0
    sys.stdout.flush()
    return 0


def _tell(failure: _Failure, is_json: bool) -> int:
    code, name, message, hint = failure
    if is_json:
        error = {"code": name, "exit": code, "message": message, "detail": {}, "hint": hint}
        sys.stderr.write(json.dumps({"error": {**error, "outcome": "failed"}}) + "\n")
    else:
        sys.stderr.write(f"error: {message}\n  why: {name}, nothing was changed\n  try: {hint}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ringmill engine", description="Look into a storage folder.", allow_abbrev=False)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    for name, argument, what in (
        ("inspect", "FOLDER", "show tables by level, logs, drops and unreadable parts"),
        ("verify", "FOLDER", "check every block of every file; exit with 1 when one is damaged"),
        ("dump", "FILE", "print every record of a log, table or manifest"),
    ):
        command = commands.add_parser(name, help=what, allow_abbrev=False)
        command.add_argument("path", metavar=argument)
        command.add_argument("-o", "--output", choices=("table", "json"), default=argparse.SUPPRESS)
    return parser


def _write_json(rows: Iterable[Row]) -> None:
    """Write the rows as one list, each as soon as it is read; the list is closed even when an error
    follows."""
    before = "[\n"
    try:
        for row in rows:
            sys.stdout.write(before + json.dumps(_plain(row)))
            before = ",\n"
    except Exception:
        sys.stdout.write("" if before == "[\n" else "\n]\n")
        raise
    sys.stdout.write("[]\n" if before == "[\n" else "\n]\n")


def _write_text(rows: Iterable[Row]) -> None:
    for row in rows:
        head, *rest = row.items()
        words = [str(_short(head[1]))] + [f"{name} {_short(value)}" for name, value in rest if value != []]
        sys.stdout.write("  ".join(words) + "\n")


def _plain(row: Row) -> Row:
    return dict(chain.from_iterable(_fields(name, value) for name, value in row.items()))


def _fields(name: str, value: object) -> list[tuple[str, object]]:
    if not isinstance(value, bytes):
        return [(name, value)]
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if text.isprintable():
        return [(name, text)]
    return [(f"{name}_b64", base64.b64encode(value).decode("ascii"))]


def _short(value: object) -> object:
    if not isinstance(value, bytes):
        return value
    text = _text_of_bytes(value[:_PREVIEW_BYTES])
    return text if len(value) <= _PREVIEW_BYTES else f"{text}… ({len(value)} bytes)"


def _text_of_bytes(value: bytes) -> str:
    """Printable bytes as text, others as \\x escapes; backslashes are escaped, so the text can be parsed
    back."""
    return value.decode("latin-1").encode("unicode_escape").decode("ascii")


if __name__ == "__main__":
    sys.exit(main())
