"""What stands in for a method while a safeguard is off has to be callable as that method is."""

from __future__ import annotations

from typing import Any

import pytest

from ringmill.simulator.patching import method, patched


class Box:
    def put(self, key: str, value: int = 0, *, twice: bool = False) -> int:
        return value


def test_a_method_is_patched_inside_the_block_alone() -> None:
    def put(box: Box, key: str, value: int = 0, **how: Any) -> int:
        return value + 1

    with patched(method(Box.put, put)):
        assert Box().put("a", 1, twice=True) == 2
    assert Box().put("a", 1) == 1


def test_a_patch_that_could_not_be_called_fails_before_it_is_applied() -> None:
    """Its error would turn a run red, as if the run had needed the safeguard."""

    def too_few(box: Box, key: str) -> int:
        return 0

    def no_keyword(box: Box, key: str, value: int = 0) -> int:
        return 0

    def too_needy(box: Box, key: str, value: int, *, twice: bool) -> int:
        return 0

    for value in (too_few, no_keyword, too_needy):
        with pytest.raises(TypeError, match=r"the patch of Box\.put cannot be called as the original is"):
            method(Box.put, value)
