"""`ringmill config show`: the settings that commands have here, and where each comes from."""

from __future__ import annotations

import os

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.settings import NAMES, Settings
from ringmill.client.cli.lazy import LazyGroup, Verb

__all__ = ["config", "show"]

config = LazyGroup(
    "config",
    {"show": Verb("ringmill.client.cli.config_verbs:show", "print the settings of commands")},
    "See the settings that commands have, from flags, RINGMILL_* variables and files.",
)


@click.command()
@click.option("--origin", is_flag=True, help="also print where each setting comes from")
@click.pass_obj
def show(settings: Settings, origin: bool) -> None:
    """Print the settings that commands have in this folder and environment, without the token itself.

    A flag overrides a RINGMILL_* variable, which overrides ./ringmill.toml, which overrides
    ~/.config/ringmill/config.toml.  Settings of nodes: `ringmill node config`.
    """
    values = {name: _shown(settings, name) for name in NAMES}
    origins = {name: settings.origins.get(name, "default") for name in NAMES}
    if origin:
        document = {name: {"value": values[name], "origin": origins[name]} for name in NAMES}
        rows = [(name, _text(values[name]), origins[name]) for name in NAMES]
        output.show(settings, document, ("SETTING", "VALUE", "ORIGIN"), rows)
    else:
        output.fields(settings, values, [(name, _text(value)) for name, value in values.items()])


def _shown(settings: Settings, name: str) -> str | int | float | None:
    """The value of a setting; of the token only that there is one, and paths as what they lead to."""
    if name == "timeout":
        return settings.timeout_s
    if name == "home":
        return settings.home_folder
    value: str | int | None = getattr(settings, name)
    if name == "token":
        return "(set)" if value else ""
    return os.path.abspath(str(value)) if value and name.startswith("tls_") else value


def _text(value: str | float | None) -> str:
    return "" if value is None else f"{value:g}s" if isinstance(value, float) else str(value)
