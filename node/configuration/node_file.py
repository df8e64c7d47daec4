"""The file of `--config`: TOML, one line for each setting, in any order and without sections."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from ringmill.cluster.errors import InvalidArgument
from ringmill.node.configuration.node_settings import NODE_SETTINGS
from ringmill.node.configuration.setting import Found

__all__ = ["settings_in"]


def settings_in(text: str, path: str) -> Mapping[str, Found]:
    """The settings of a file, by name.

    Raises InvalidArgument that names the file and the line, for what is no TOML, no setting, or no value.
    """
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument(f"{path} is not valid TOML: {error}") from error
    known = {setting.name: setting for setting in NODE_SETTINGS}
    found: dict[str, Found] = {}
    for key, item in document.items():
        name = key.replace("-", "_")
        place = f"{path}{_line_of(key, text)}"
        if isinstance(item, dict):
            raise InvalidArgument(
                f"{place}: [{key}] is a section, and a node's file has none",
                hint="write each setting on a line of its own, such as: slots = 2",
            )
        if name not in known:
            raise InvalidArgument(
                f"{place}: {key} is not a setting of a node{_meant(name, known)}",
                hint="`ringmill node run --help` lists them; a setting has the name of its flag",
            )
        if name in found:
            raise InvalidArgument(f"{place}: {key} stands there twice, with a dash and with an underscore")
        origin = f"{key} ({place})"
        found[name] = Found(known[name], known[name].from_item(item, origin), origin)
    return found


def _line_of(key: str, text: str) -> str:
    """ ", line 3": the parser of TOML tells no lines."""
    written = re.compile(rf"\s*[\[\"']*{re.escape(key)}[\"'\]]*\s*(=|\.|$)")
    for number, line in enumerate(text.splitlines(), start=1):
        if written.match(line):
            return f", line {number}"
    return ""


def _meant(name: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(name, sorted(known), n=3)
    return f"; did you mean {' or '.join(one.replace('_', '-') for one in near)}?" if near else ""
