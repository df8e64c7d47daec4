"""Where a job was made: the module that was being run, and what it was compiled from.

Pure.  Whoever imports a job has it under a name, too; nodes are to import it from where it was made.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import CodeType
from typing import Any, Final

__all__ = ["MadeAt", "made_here"]

_TOP_LEVEL: Final = "<module>"


@dataclass(frozen=True, slots=True)
class MadeAt:
    """The name of a module, and the code of its top level; "" and None where it is not known."""

    module: str = ""
    code: CodeType | None = None

    def is_source(self, source: bytes) -> bool:
        """Whether the module was made of this source, to the letter."""
        if self.code is None:
            return False
        try:
            return compile(source, self.code.co_filename, "exec", dont_inherit=True) == self.code
        except (SyntaxError, ValueError):
            return False

    def __reduce__(self) -> Any:
        """What is sent to another process was made elsewhere."""
        return (MadeAt, ())


def made_here() -> MadeAt:
    """The module whose top level is being run, also where it calls a function of another one."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name == _TOP_LEVEL:
            return MadeAt(str(frame.f_globals.get("__name__", "")), frame.f_code)
    return MadeAt()
