"""Rules about one Python file: how long, how it introduces itself, what it names, what it swallows."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tidy_rules.finding import Finding, SourceFile

__all__ = ["docstring", "lost_cancellations", "sizes", "surface", "swallowed_errors"]

FILE_LINES = 500
FUNCTION_LINES = 70
ROOMS_WITH_SURFACE = ("cluster", "node", "client", "simulator")
LOG_NAMES = {"log", "_log", "logger", "_logger", "logging", "LOG", "print", "warnings"}


def sizes(source: SourceFile) -> Iterator[Finding]:
    lines = len(source.text.splitlines())
    if lines > FILE_LINES:
        yield source.finding(1, f"{lines} lines, more than {FILE_LINES}; split it by idea into two modules")
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                what = (
                    f"{node.name} has {length} lines, more than {FUNCTION_LINES}; name its steps as functions"
                )
                yield source.finding(node.lineno, what)


def docstring(source: SourceFile) -> Iterator[Finding]:
    """Modules introduce themselves; package files stay empty, but for the public API's."""
    if source.path.name == "__init__.py" and source.room != "ringmill":
        if source.text.strip():
            yield source.finding(1, "a package file with content; move it into a module named after its idea")
    elif source.text.strip() and ast.get_docstring(source.tree) is None:
        yield source.finding(1, "no module docstring; say what it is for and what may not be in it")


def surface(source: SourceFile) -> Iterator[Finding]:
    """Modules of the product name what others may use; _private modules and entries need not."""
    if source.room not in ROOMS_WITH_SURFACE or source.path.name.startswith("_"):
        return
    if not any(_assigns(statement, "__all__") for statement in source.tree.body):
        yield source.finding(1, "no __all__; list the names that other modules may use")


def _assigns(statement: ast.stmt, name: str) -> bool:
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    else:
        return False
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def swallowed_errors(source: SourceFile) -> Iterator[Finding]:
    """`except Exception` with a body that only logs: the error is gone and the state is a guess."""
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and all(map(_says_little, node.body)):
            what = "a broad except that only logs; catch the one error you can act on, let the rest pass"
            yield source.finding(node.lineno, what)


def lost_cancellations(source: SourceFile) -> Iterator[Finding]:
    """`asyncio.gather` in a node: it loses a cancellation that comes in the turn of an error."""
    if source.room not in ("cluster", "node"):
        return
    for node in source.nodes:
        if not isinstance(node, ast.Call) or ast.unparse(node.func) != "asyncio.gather":
            continue
        if not any(each.arg == "return_exceptions" for each in node.keywords):
            what = "gather loses a cancellation beside an error; use gather_all of cluster/gathering.py"
            yield source.finding(node.lineno, what)


def _is_broad(caught: ast.expr | None) -> bool:
    return caught is None or (isinstance(caught, ast.Name) and caught.id in {"Exception", "BaseException"})


def _says_little(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Pass | ast.Continue):
        return True
    if not isinstance(statement, ast.Expr):
        return False
    if isinstance(statement.value, ast.Constant):
        return True
    return isinstance(statement.value, ast.Call) and _root_name(statement.value.func) in LOG_NAMES


def _root_name(expression: ast.expr) -> str:
    """The name a call hangs on: `log` of `log.warning`, `_log` of `self._log.info`."""
    if isinstance(expression, ast.Attribute):
        inner = expression.value
        if (
            isinstance(inner, ast.Attribute)
            and isinstance(inner.value, ast.Name)
            and inner.value.id == "self"
        ):
            return inner.attr
        return _root_name(inner)
    return expression.id if isinstance(expression, ast.Name) else ""
