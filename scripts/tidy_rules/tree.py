"""Which files belong to the project: what git tracks or would track; without git, what is not hidden."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["files_of"]

IGNORED = {"build", "dist", "__pycache__"}


def files_of(root: Path) -> list[Path]:
    """Paths relative to `root`, sorted; generated stubs left out."""
    paths = _from_git(root) if (root / ".git").exists() else _from_disk(root)
    return sorted(path for path in paths if "_pb2" not in path.name and (root / path).is_file())


def _from_git(root: Path) -> set[Path]:
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {Path(name) for name in listed.split("\0") if name}


def _from_disk(root: Path) -> set[Path]:
    paths = {path.relative_to(root) for path in root.rglob("*")}
    return {path for path in paths if not any(part in IGNORED or part[0] == "." for part in path.parts)}
