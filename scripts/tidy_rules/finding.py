"""What a rule reads and what it says: a parsed source file, and a finding of one line."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Finding", "SourceFile", "imported"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing out of order: where, what, and what to do instead."""

    path: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A Python file, by its path from the root."""

    path: Path
    text: str
    tree: ast.Module

    @classmethod
    def parse(cls, path: Path, text: str) -> SourceFile:
        return cls(path, text, ast.parse(text, str(path)))

    @property
    def room(self) -> str:
        """The top folder: cluster, node, client, simulator, ringmill, examples, scripts or tests."""
        return self.path.parts[0]

    def is_in(self, *places: str) -> bool:
        """Whether the file is one of these files, or below one of these folders."""
        return any(self.path == Path(place) or Path(place) in self.path.parents for place in places)

    def finding(self, line: int, what: str) -> Finding:
        return Finding(self.path, line, what)


def imported(node: ast.AST) -> list[str]:
    """The modules that an import statement names in full; none for any other node."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [node.module or ""]
    return []
