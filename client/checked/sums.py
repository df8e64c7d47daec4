"""Whether a total is made of some of its parts."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["adds_up"]


def adds_up(total: int, parts: Sequence[int], count: int | None) -> bool:
    """Whether some of the parts, `count` of them unless that is None, add up to the total."""
    zero = sum(-part for part in parts if part < 0)
    sums = [1 << zero]  # by how many parts; bit `zero + n` is set when they can add up to n
    for part in parts:
        more = [each << part if part >= 0 else each >> -part for each in sums]
        sums = [fewer | one_more for fewer, one_more in zip([*sums, 0], [0, *more], strict=True)]
    if zero + total < 0:
        return False
    if count is not None:
        return 0 <= count < len(sums) and bool(sums[count] >> (zero + total) & 1)
    return any(each >> (zero + total) & 1 for each in sums)
