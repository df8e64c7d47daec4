"""The loads there are, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from chaos.loads.load import Load
from chaos.loads.merging_load import MergingLoad
from chaos.loads.object_load import ObjectLoad
from chaos.loads.register_load import RegisterLoad
from chaos.loads.scan_load import ScanLoad
from chaos.loads.watch_load import WatchLoad

__all__ = ["LOADS"]

LOADS: Final[Mapping[str, type[Load]]] = {
    "objects": ObjectLoad,
    "registers": RegisterLoad,
    "merging": MergingLoad,
    "scans": ScanLoad,
    "watches": WatchLoad,
}
