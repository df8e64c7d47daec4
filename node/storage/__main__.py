"""`ringmill engine inspect|verify|dump`: looking into the files of a folder, human first, JSON with -o json.

A composition root of its own: it opens the real files.  Exit codes: 0 fine, 1 damage found, 2 bad
arguments, 3 nothing there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence

from cluster.adapters.os_files import OsFileSystem
from node.storage.errors import CorruptBlock
from node.storage.inspect import Row, dump_file, inspect_folder, verify_folder

__all__ = ["main"]

_PREVIEW_BYTES = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    parsed = _parser().parse_args(arguments)
    files = OsFileSystem()
    try:
        return _run(files, parsed)
    except CorruptBlock as error:
        _tell(
            f"damage: {error}",
            "CORRUPT_DATA, nothing was changed",
            "`ringmill engine verify` finds all of it",
        )
        return 1
    except (FileNotFoundError, NotADirectoryError) as error:
        _tell(
            f"{error.filename} is not there", "NOT_FOUND, nothing was changed", "DATA/store of a node's data"
        )
        return 3
    except ValueError as error:
        _tell(str(error), "INVALID_ARGUMENT, nothing was changed", "`ringmill engine --help`")
        return 2
    finally:
        files.close()


def _run(files: OsFileSystem, parsed: argparse.Namespace) -> int:
    show = _write_json if parsed.output == "json" else _write_text
    if parsed.command == "inspect":
        show(inspect_folder(files, parsed.folder))
        return 0
    if parsed.command == "dump":
        folder, _, name = parsed.file.rpartition("/")
        show(dump_file(files, folder or ".", name))
        return 0
    rows = list(verify_folder(files, parsed.folder))
    show(rows)
    return 1 if any(row["damages"] for row in rows) else 0


def _tell(error: str, why: str, what_to_try: str) -> None:
    sys.stderr.write(f"error: {error}\n  why: {why}\n  try: {what_to_try}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ringmill engine", description="Look into a storage folder.")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, argument, what in (
        ("inspect", "folder", "tables by level, logs, what is dropped or unreadable"),
        ("verify", "folder", "check every block of every file; exit 1 when one is damaged"),
        ("dump", "file", "every record of one log, table or manifest"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument(argument)
        command.add_argument(
            "-o",
            "--output",
            choices=("text", "json"),
            default=argparse.SUPPRESS,
            help="json: a line a record",
        )
    return parser


def _write_json(rows: Iterable[Row]) -> None:
    for row in rows:
        sys.stdout.write(json.dumps(row, default=_text_of_bytes) + "\n")


def _write_text(rows: Iterable[Row]) -> None:
    for row in rows:
        head, *rest = row.items()
        words = [str(_short(head[1]))] + [f"{name} {_short(value)}" for name, value in rest if value != []]
        sys.stdout.write("  ".join(words) + "\n")


def _short(value: object) -> object:
    if not isinstance(value, bytes):
        return value
    text = _text_of_bytes(value[:_PREVIEW_BYTES])
    return text if len(value) <= _PREVIEW_BYTES else f"{text}… ({len(value)} bytes)"


def _text_of_bytes(value: object) -> str:
    """Printable bytes as text, others as \\x escapes; a backslash is escaped too, so it reads back."""
    if not isinstance(value, bytes):
        raise TypeError(f"{value!r} in a row")
    return value.decode("latin-1").encode("unicode_escape").decode("ascii")


if __name__ == "__main__":
    sys.exit(main())
