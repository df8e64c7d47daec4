"""What an installation brings along is used, and what is pinned is asked for."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("cluster", "node", "client", "simulator", "ringmill")
BELOW_3_12 = {"importlib-metadata": ["zipp", "lazy-importer"]}  # Dask asks for it there, later ones lack it


def canonical(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def declared() -> dict[str, list[str]]:
    """Names of distributions by the list that names them; "" is what every installation gets."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = {"": project["dependencies"], **project["optional-dependencies"]}
    return {name: [canonical(each) for each in needs] for name, needs in lists.items()}


def imported() -> set[str]:
    """Modules that the product names in an import, dotted as they stand there."""
    found: set[str] = set()
    for folder in PRODUCT:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    found.add(str(node.module))
    return found


def packages_of(distribution: str) -> set[str]:
    """The folders and modules that a distribution installs, dotted: "google.protobuf", "uvloop"."""
    files = [file for file in metadata.files(distribution) or [] if file.suffix in (".py", ".so")]
    modules = {str(file.parent / file.name.split(".")[0]).replace("/", ".") for file in files}
    return modules | {module.rpartition(".")[0] for module in modules} - {""}


def test_every_dependency_is_imported_by_the_product() -> None:
    names = imported()
    unused = [each for each in declared()[""] if not packages_of(each) & names]
    assert unused == []


def test_every_pin_belongs_to_something_that_is_asked_for() -> None:
    pinned = {canonical(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    wanted = {each for names in declared().values() for each in names}
    while (
        more := {
            canonical(each) for name in wanted for each in (_requirements(name) if name in pinned else ())
        }
        - wanted
    ):
        wanted |= more
    assert sorted(pinned - wanted) == []
    assert sorted(set(declared()[""]) - pinned) == []


def _requirements(distribution: str) -> list[str]:
    """Without extras.  What is not installed here (the extras proto and bench) is taken to need nothing, but
    for what only an older Python asks for."""
    try:
        return [each for each in metadata.requires(distribution) or [] if "extra ==" not in each]
    except metadata.PackageNotFoundError:
        return BELOW_3_12.get(distribution, [])
