"""What runs of deletes have to meet now and then: marks in product code (cluster/sometimes.py)."""

from __future__ import annotations

from typing import Final

__all__ = ["DELETE_MARKS"]

DELETE_MARKS: Final = (
    "a delete is forgotten",
    "a delete that is forgotten already is not taken again",
    "a watermark is proven",
    "an attempt to prove a watermark is void",
    "an owner finds out what came of a watermark that it has kept",
    "an owner refuses a watermark soon after a step of its clock",
    "an owner refuses a watermark that is too young by its clock",
    "an owner that is away holds back a watermark",
    "hints hold back a watermark",
    "it is open whether a watermark was kept by all",
    "tables are merged to give back the space of deletes",
)
