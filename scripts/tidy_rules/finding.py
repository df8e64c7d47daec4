"""What a rule reads and what it says: a parsed source file, and a finding of one line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
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
    nodes: tuple[ast.AST, ...]
    """The nodes of the tree but `Load` and its like, in the order of `ast.walk`; found once for all rules."""

    @classmethod
    def parse(cls, path: Path, text: str) -> SourceFile:
        tree = ast.parse(text, str(path))
        return cls(path, text, tree, tuple(_nodes(tree)))

    @property
    def room(self) -> str:
        """The top folder: cluster, node, client, simulator, ringmill, examples, scripts or tests."""
        return self.path.parts[0]

    def is_in(self, *places: str) -> bool:
        """Whether the file is one of these files, or below one of these folders."""
        return any(self.path == Path(place) or Path(place) in self.path.parents for place in places)

    def finding(self, line: int, what: str) -> Finding:
        return Finding(self.path, line, what)


def _nodes(tree: ast.Module) -> Iterator[ast.AST]:
    level: list[ast.AST] = [tree]
    while level:
        yield from level
        below: list[ast.AST] = []
        for node in level:
            for name in node._fields:
                value = getattr(node, name, None)
                if isinstance(value, list):
                    below += [each for each in value if isinstance(each, ast.AST)]
                elif isinstance(value, ast.AST) and name != "ctx":
                    below.append(value)
        level = below


def imported(node: ast.AST) -> list[str]:
    """The modules that an import statement names in full; none for any other node."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [node.module or ""]
    return []
