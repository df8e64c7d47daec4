"""Safeguards that forgetting deletes relies on."""

from __future__ import annotations

from typing import Final

from ringmill.simulator.bending import Ablation

__all__ = ["DELETE_ABLATIONS"]

DELETE_ABLATIONS: Final[tuple[Ablation, ...]] = ()
