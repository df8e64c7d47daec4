"""Rules about names and words in any text file: empty names, notes to oneself, paths of a machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tidy_rules.finding import Finding

__all__ = ["file_name", "marks"]

EMPTY_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "stuff"}
# Written in pieces, so that this file does not find itself.
NOTE = re.compile(r"\b(?:" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")
MACHINE = re.compile(r"(?<![\w.~-])/(?:home|Users|work|root)/\w")


def file_name(path: Path) -> Iterator[Finding]:
    if path.stem in EMPTY_NAMES or any(part in EMPTY_NAMES for part in path.parts[:-1]):
        yield Finding(path, 1, "a name that says nothing; name the module after its idea")


def marks(path: Path, text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), start=1):
        if found := NOTE.search(line):
            yield Finding(path, number, f"a note to oneself ({found[0]}); do it, or say what is so today")
        if MACHINE.search(line):
            yield Finding(path, number, "an absolute path of one machine; write it relative to the project")
