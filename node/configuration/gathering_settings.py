"""Gathers the settings of a node: a flag wins over the environment, that over the file, and that over the
default."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final, NoReturn

from ringmill.cluster.errors import InvalidArgument
from ringmill.node.configuration.node_settings import CONFIG, NODE_SETTINGS
from ringmill.node.configuration.setting import ENVIRONMENT_PREFIX, Found

__all__ = ["argument_parser", "config_path", "gathered", "require"]

_HELP: Final = "`ringmill node run --help` lists the flags"
_EPILOG: Final = (
    "Each flag can also stand in the file of --config (scrub-every = 3600) or in the environment "
    "(RINGMILL_SCRUB_EVERY=3600). A flag wins over the environment, and that over the file."
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidArgument(message, hint=_HELP)


def argument_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser of the flags of the table.  What is not given is not in its result; values are texts."""
    parser = _Parser(
        prog=prog,
        description=description,
        epilog=_EPILOG,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(f"--{CONFIG}", metavar="FILE", help="file with settings (TOML)")
    for setting in NODE_SETTINGS:
        parser.add_argument(
            setting.flag,
            metavar=setting.metavar,
            help=argparse.SUPPRESS if setting.is_hidden else setting.help,
        )
    return parser


def config_path(flags: Mapping[str, str], environment: Mapping[str, str]) -> tuple[str, str]:
    """The file with settings, "" when there is none, and what names it."""
    variable = f"{ENVIRONMENT_PREFIX}{CONFIG.upper()}"
    if CONFIG in flags:
        return flags[CONFIG], f"--{CONFIG}"
    return environment.get(variable, ""), variable


def gathered(
    flags: Mapping[str, str], environment: Mapping[str, str], file: Mapping[str, Found]
) -> dict[str, Found]:
    """All settings by name, in the order of the table.

    Raises InvalidArgument for a value that is none, which names the flag, or the variable.
    """
    found: dict[str, Found] = {}
    for setting in NODE_SETTINGS:
        name = setting.name
        if name in flags:
            text, origin = flags[name], setting.flag
        elif setting.variable in environment:
            text, origin = environment[setting.variable], setting.variable
        else:
            found[name] = file.get(name) or Found(setting, setting.default)
            continue
        try:
            found[name] = Found(setting, setting.from_text(text, origin), origin)
        except InvalidArgument as error:
            raise InvalidArgument(error.message, hint=_HELP) from None
    return found


def require(found: Mapping[str, Found]) -> None:
    """Raise InvalidArgument, which names them, when settings that a node cannot do without are missing."""
    missing = [each.setting for each in found.values() if each.setting.is_required and each.value is None]
    if missing:
        variables = " and ".join(setting.variable for setting in missing)
        raise InvalidArgument(
            f"{' and '.join(setting.flag for setting in missing)}: missing",
            hint=f"give them as flags, in the file of --{CONFIG}, or as {variables}; {_HELP}",
        )
