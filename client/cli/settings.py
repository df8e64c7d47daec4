"""What every verb is told: cluster, endpoints, output form, timeout.

A flag stands above RINGMILL_*, that above ./ringmill.toml, that above ~/.config/ringmill/config.toml, that
above the default.  Global flags may stand before or after the verb; each writes into the one Settings of the
run.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from cluster.adapters.private_files import distrust
from cluster.errors import InvalidArgument

__all__ = ["DURATION", "Settings", "global_options"]

DEFAULT_CLUSTER = "default"
DEFAULT_TIMEOUT_S = 5.0
PREFIX = "settings_"
FORMS = ("table", "json", "raw")
NAMES = ("base_port", "cluster", "endpoints", "home", "output", "timeout", "token")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?")
_UNIT_S = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}


class _Duration(click.ParamType[float]):
    """A time span: "500ms", "5s", "2m", or a number of seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return seconds(str(value))
        except InvalidArgument as error:
            self.fail(str(error), param, ctx)


DURATION = _Duration()


@dataclass(slots=True)
class Settings:
    """The settings of one run.  `output` "table" means rows without a frame when stdout is no terminal."""

    cluster: str = DEFAULT_CLUSTER
    endpoints: str = ""
    home: str = ".ringmill"
    output: str = "table"
    timeout: float | None = None
    token: str = ""
    base_port: int | None = None  # of a new local cluster
    no_color: bool = False
    verbose: bool = False
    debug: bool = False
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def gathered(cls, environment: Mapping[str, str], files: Sequence[str]) -> Settings:
        """Settings of the files, later ones first in rank, and of RINGMILL_* above them.

        An unknown name is warned about, never an error.  Raises InvalidArgument for a value that cannot be.
        """
        settings = cls(no_color="NO_COLOR" in environment or environment.get("TERM") == "dumb")
        for path in files:
            if os.path.exists(path) and (why := _distrust(path)):
                settings.warnings.append(f"{path} is not obeyed: {why}")
                continue
            for name, value in _read_toml(path).items():
                settings._take(name, str(value), f"{name} in {path}")
        for name in sorted(environment):
            if name.startswith("RINGMILL_"):
                settings._take(name.removeprefix("RINGMILL_").lower(), environment[name], name)
        return settings

    def _take(self, name: str, value: str, origin: str) -> None:
        if name not in NAMES:
            self.warnings.append(f"{origin} is no setting of ringmill; there are {', '.join(NAMES)}")
        elif name == "output" and value not in FORMS:
            raise InvalidArgument(f"{origin} is {value!r}; an output is {', '.join(FORMS)}")
        elif name == "base_port":
            self.base_port = _port(value, origin)
        else:
            setattr(self, name, seconds(value) if name == "timeout" else value)

    @property
    def timeout_s(self) -> float:
        return DEFAULT_TIMEOUT_S if self.timeout is None else self.timeout

    @property
    def home_folder(self) -> str:
        """Where local clusters are kept; absolute, made or not."""
        return os.path.abspath(self.home)

    @property
    def cluster_folder(self) -> str:
        """Where the local cluster of this name keeps its state; absolute, made or not."""
        return os.path.join(self.home_folder, self.cluster)

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at stdout."""
        return self.output == "table" and sys.stdout.isatty()

    @property
    def has_color(self) -> bool:
        return self.is_terminal and not self.no_color


def seconds(text: str) -> float:
    """A time span as people write it.  Raises InvalidArgument."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidArgument(f'{text!r} is no time span; write "5s", "500ms" or "2m"')
    return float(match[1]) * _UNIT_S[match[2]]


def _port(value: str, origin: str) -> int:
    if not value.isdecimal():
        raise InvalidArgument(f"{origin} is {value!r}, a port number is needed")
    return int(value)


def _distrust(path: str) -> str:
    """Why a settings file may be another user's word, or its folder another user's; "" when neither is."""
    return distrust(path, follow=True) or distrust(os.path.dirname(path) or ".", follow=True)


def global_options() -> list[click.Option]:
    """Fresh options for one command; they are stored, not handed to it."""
    return [
        _stored("--cluster", metavar="NAME", help="local cluster to talk to  [default]"),
        _stored("--endpoints", metavar="A:P,B:P", help="addresses of nodes, instead of --cluster"),
        _stored("-o", "output", type=click.Choice(FORMS), help="form of the answer  [table]"),
        _stored("--timeout", type=DURATION, metavar="TIME", help="how long to try or wait  [5s]"),
        _stored("--no-color", is_flag=True, default=None, help="plain text"),
        _stored("-v", "--verbose", is_flag=True, default=None, help="say more"),
        _stored("--debug", is_flag=True, default=None, help="show a trace when something fails"),
    ]


def _stored(*names: str, **options: Any) -> click.Option:
    """An option kept under a name of its own, so that a verb may have one of the same long name."""
    attribute = names[-1].lstrip("-").replace("-", "_")
    flags = [name for name in names if name.startswith("-")]
    return click.Option([*flags, PREFIX + attribute], expose_value=False, callback=_store, **options)


def _store(ctx: click.Context, option: click.Parameter, value: object) -> None:
    if value is not None:
        assert option.name is not None
        setattr(ctx.find_object(Settings), option.name.removeprefix(PREFIX), value)


def _read_toml(path: str) -> dict[str, Any]:
    """The settings of one file; none when it is not there.  Raises InvalidArgument when it does not parse."""
    if not os.path.exists(path):
        return {}
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument(f"{path} is no TOML: {error}") from error
