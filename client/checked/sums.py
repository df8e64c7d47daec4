"""Whether a total is made of some of its parts."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["add_up_one_after_the_other", "adds_up"]


def adds_up(total: int, parts: Sequence[int], count: int | None) -> bool:
    """Whether some of the parts, `count` of them unless that is None, add up to the total."""
    zero = sum(-part for part in parts if part < 0)
    if zero + total < 0:
        return False
    if count is None:
        return bool(_sums_of(parts, 1 << zero) >> (zero + total) & 1)
    sums = [1 << zero]  # by how many parts; bit `zero + n` is set when they can add up to n
    for part in parts:
        more = [_moved(each, part) for each in sums]
        sums = [fewer | one_more for fewer, one_more in zip([*sums, 0], [0, *more], strict=True)]
    return 0 <= count < len(sums) and bool(sums[count] >> (zero + total) & 1)


def add_up_one_after_the_other(
    first: int, of_first: Sequence[int], second: int, of_second: Sequence[int], of_both: Sequence[int]
) -> bool:
    """Whether some of the first parts and of those of both add up to the first total, and some of the second
    and of those of both to the second, which has all of both that the first has."""
    zero = sum(-part for part in (*of_second, *of_both) if part < 0)
    sums = {0: 1 << zero}  # by what parts add up to in the first; bit `zero + n`: to n in the second
    for part in of_both:
        more: dict[int, int] = {}
        for total, others in sums.items():
            moved = _moved(others, part)
            more[total] = more.get(total, 0) | others | moved
            more[total + part] = more.get(total + part, 0) | moved
        sums = more
    sums = {total: _sums_of(of_second, others) for total, others in sums.items()}
    if zero + second < 0:
        return False
    return any(
        others >> (zero + second) & 1 and adds_up(first - total, of_first, None)
        for total, others in sums.items()
    )


def _sums_of(parts: Sequence[int], sums: int) -> int:
    """The sums that are there with any of the parts added."""
    for part in parts:
        sums |= _moved(sums, part)
    return sums


def _moved(sums: int, part: int) -> int:
    return sums << part if part >= 0 else sums >> -part
