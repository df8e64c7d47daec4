"""One setting of a node: its name, what it may be, and what reads it from a command line or a file.

A setting has one name in three spellings: `--scrub-every` on the command line, `RINGMILL_SCRUB_EVERY` in the
environment, `scrub-every` or `scrub_every` in the file of `--config`.  Where a command has a variable of that
name for itself, that of the node begins with `RINGMILL_NODE_`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ringmill.cluster.errors import InvalidArgument

__all__ = ["ENVIRONMENT_PREFIX", "Found", "Setting", "Value"]

Value: TypeAlias = str | int | float | tuple[str, ...]
Kind: TypeAlias = Literal["text", "list", "count", "seconds", "seconds or off"]

ENVIRONMENT_PREFIX: Final = "RINGMILL_"
_KINDS: Final = {
    "text": "text",
    "list": "a list of texts",
    "count": "a whole number",
    "seconds": "a number of seconds",
    "seconds or off": 'a number of seconds, or "off"',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table.  A setting without a `default` may be missing, unless it `is_required`.

    `least` and `most` bound a number; `or_zero` allows 0 below `least`.  A hidden one is for tests alone.
    """

    name: str
    help: str
    kind: Kind = "text"
    default: Value | None = None
    choices: tuple[str, ...] = ()
    least: float = 0
    most: float = math.inf
    or_zero: bool = False
    is_required: bool = False
    is_hidden: bool = False
    is_secret: bool = False
    is_clients_too: bool = False  # a command has a variable of this name, which must not change a node

    @property
    def flag(self) -> str:
        return f"--{self.spelling}"

    @property
    def spelling(self) -> str:
        """As a file and `node config` have it."""
        return self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        whose = "NODE_" if self.is_clients_too else ""
        return f"{ENVIRONMENT_PREFIX}{whose}{self.name.upper()}"

    @property
    def metavar(self) -> str:
        if self.choices:
            return "|".join(self.choices)
        texts = {"list": "A,B", "count": "N", "seconds": "SECONDS", "seconds or off": "SECONDS|off"}
        return texts.get(self.kind, self.name.upper())

    def from_text(self, text: str, origin: str) -> Value:
        """The value that a flag or a variable gives.  Raises InvalidArgument, which names `origin`."""
        if self.kind == "list":
            return tuple(part.strip() for part in text.split(",") if part.strip())
        if self.kind == "text":
            return self._chosen(text, origin)
        if self.kind == "seconds or off" and text == "off":
            return 0.0
        try:
            number = int(text) if self.kind == "count" else float(text)
        except ValueError:
            raise InvalidArgument(f"{origin} {text[:80]!r}: not {_KINDS[self.kind]}") from None
        return self._bounded(number, text[:80], origin)

    def from_item(self, item: object, origin: str) -> Value:
        """The value that a file gives, which has a type.  Raises InvalidArgument, which names `origin`."""
        if self.kind == "list" and isinstance(item, list) and all(isinstance(one, str) for one in item):
            return tuple(item)
        if isinstance(item, str) and (self.kind in {"text", "list"} or item == "off"):
            return self.from_text(item, origin)
        if set(self.choices) == {"on", "off"} and isinstance(item, bool):
            return "on" if item else "off"
        is_number = isinstance(item, int | float) and not isinstance(item, bool)
        if self.kind == "count" and not isinstance(item, int):
            is_number = False
        if is_number and self.kind in {"count", "seconds", "seconds or off"}:
            assert isinstance(item, int | float)
            return self._bounded(item if self.kind == "count" else float(item), str(item), origin)
        raise InvalidArgument(f"{origin} is {_told(item)}: it must be {self.allowed}")

    @property
    def allowed(self) -> str:
        """What the value may be, in words."""
        if self.choices:
            return " or ".join(f'"{choice}"' for choice in self.choices)
        return _KINDS[self.kind] + (f", {self._span}" if self._span else "")

    @property
    def _span(self) -> str:
        zero = "0, or " if self.or_zero else ""
        if self.most < math.inf:
            return f"{zero}from {self.least:g} to {self.most:.0f}"
        return f"{zero}{self.least:g} or more" if self.kind in {"count", "seconds"} else ""

    def _chosen(self, text: str, origin: str) -> str:
        if self.choices and text not in self.choices:
            raise InvalidArgument(
                f"{origin} {text[:80]!r}: {', '.join(self.choices[:-1])} or {self.choices[-1]}"
            )
        return text

    def _bounded(self, number: float, text: str, origin: str) -> float:
        if self.kind == "seconds or off":
            return number  # what it may be depends on another setting
        if (self.or_zero and number == 0) or self.least <= number <= self.most:  # a nan is neither
            return number
        raise InvalidArgument(f"{origin} {text}: {self._span}")


@dataclass(frozen=True, slots=True)
class Found:
    """A setting's value, and where it came from.

    `origin` is for errors: "--slots", "RINGMILL_SLOTS" or "slots (node.toml, line 3)"; "" for the default.
    """

    setting: Setting
    value: Value | None
    origin: str = ""


def _told(item: object) -> str:
    """A value of a file, for an error."""
    kinds = {bool: "true or false", str: "text", int: "a whole number", float: "a number", list: "a list"}
    return f"{str(item)[:40]!r}, {kinds.get(type(item), type(item).__name__)}"
