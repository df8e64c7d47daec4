"""What the jsonl parts of an output hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["records_of"]


def records_of(output: Path) -> list[tuple[Any, Any]]:
    """Keys and values, part after part."""
    lines = [line for part in sorted(output.glob("part-*")) for line in part.read_text().splitlines()]
    return [(record["key"], record["value"]) for record in map(json.loads, lines)]
