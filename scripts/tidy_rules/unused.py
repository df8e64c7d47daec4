"""Public names that nothing uses, or nothing but tests: a reader takes them for what the product can do.

A name counts as used wherever it is read, by whatever object, in anything but a test, also as a string of its
own ("module:name" in a table).  So a common name may hide a dead one; the other way round there are no false
alarms but those that ALLOWED answers.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from tidy_rules.finding import Finding, SourceFile

__all__ = ["unused_names"]

PRODUCT = ("cluster", "node", "client", "simulator")
ALLOWED = {
    "checkpoint": "a copy of the store by hard links, for whoever keeps backups of an engine",
    "EngineCounters": "shown as a whole, by `cluster status -o json`",
    "ExitCode": "the numbers that docs and users know; an error's own number leads to them",
    "from_lines": "reads back what `simulate --history` wrote",
    "is_linearizable": "the checker as a law, beside the one that also says what is wrong",
    "read_index": "reads back what every run file ends with",
    "pytest_addoption": "pytest finds it by its name",
    "rng": "for the code of jobs",
    "shuffle": "for the code of jobs",
}  # fmt: skip
PLAIN_DECORATORS = {
    "asynccontextmanager", "cached_property", "classmethod", "contextmanager", "dataclass", "final",
    "lru_cache", "property", "runtime_checkable", "setter", "staticmethod", "unique",
}  # fmt: skip
PLAIN_BASES = {"Enum", "Flag", "Generic", "IntEnum", "IntFlag", "NamedTuple", "Protocol", "StrEnum"}


def unused_names(sources: Sequence[SourceFile]) -> Iterator[Finding]:
    used = {name for source in sources if source.room != "tests" for name in _used(source)}
    classes = {each.name for source in sources for each in source.nodes if isinstance(each, ast.ClassDef)}
    for source in sources:
        if source.room in PRODUCT:
            for name, line in _defined(source.tree.body, classes | PLAIN_BASES):
                if name not in used:
                    what = f"nothing but tests uses {name}, if anything; use it, or remove it"
                    yield source.finding(line, f"{what}, or say why it stays (tidy_rules/unused.py)")


def _used(source: SourceFile) -> Iterator[str]:
    surface = {id(inner) for node in source.tree.body if _is_surface(node) for inner in ast.walk(node)}
    for node in source.nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name, ctx=ast.Load()):
                yield name
            case ast.MatchClass(kwd_attrs=names):
                yield from names
            case ast.Constant(value=str(text)) if id(node) not in surface:
                yield text.rpartition(":")[2]


def _is_surface(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__"


def _defined(body: Sequence[ast.stmt], known_bases: set[str]) -> Iterator[tuple[str, int]]:
    """Public names with their lines; left out is what a framework finds by itself."""
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if _is_plain(node):
                yield from _public(node.name, node.lineno)
            case ast.ClassDef() if _is_plain(node) and not node.name.startswith("_"):
                yield from _public(node.name, node.lineno)
                if node.name not in ALLOWED and all(_is_known(base, known_bases) for base in node.bases):
                    yield from _defined(node.body, known_bases)
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield from _public(name, node.lineno)
            case ast.If():
                yield from _defined([*node.body, *node.orelse], known_bases)


def _public(name: str, line: int) -> Iterator[tuple[str, int]]:
    if not name.startswith("_") and name not in ALLOWED:
        yield name, line


def _is_plain(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return all(_last_name(each) in PLAIN_DECORATORS for each in node.decorator_list)


def _is_known(base: ast.expr, known_bases: set[str]) -> bool:
    """A class of ours; what overrides a framework's methods is called by the framework."""
    return isinstance(base, ast.Name | ast.Subscript) and _last_name(base) in known_bases


def _last_name(expression: ast.expr) -> str:
    """`b` of `a.b`, `a.b(c)` and `b[c]`."""
    match expression:
        case ast.Call(func=inner) | ast.Subscript(value=inner):
            return _last_name(inner)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""
