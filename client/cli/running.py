"""Runs one command line of a click program and turns its end into an exit code.

`ringmill` and `python -m ringmill.simulator` both go through here.  No verb calls exit: it returns an
ExitCode or raises; the table of codes is client/cli/console/exit_codes.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import pairwise

import click

from ringmill.client.cli.console import exit_codes, failure_text, standard_streams
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.settings import FORMS, Settings
from ringmill.cluster.errors import InvalidArgument, RingmillError

__all__ = ["run_command", "settings_for_completion"]


def run_command(command: click.Command, name: str, arguments: Sequence[str]) -> int:
    """Run `command` (`name` in usage and help) with `arguments` and return the exit code."""
    standard_streams.mend()
    settings = Settings(output=_form_asked_for(arguments, os.environ.get("RINGMILL_OUTPUT", "")))
    code = _ended(command, name, arguments, settings)
    try:
        standard_streams.flush_stdout()
    except standard_streams.NobodyReads:
        standard_streams.abandon(1)
    except RingmillError as error:
        return code or _failed(error, settings)
    return code


def _ended(command: click.Command, name: str, arguments: Sequence[str], settings: Settings) -> ExitCode:
    try:
        settings = Settings.gathered(os.environ, _settings_files())
        for warning in settings.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        return _run(command, name, list(arguments), settings)
    except standard_streams.NobodyReads:
        standard_streams.abandon(1)
        return ExitCode.DONE
    except RingmillError as error:
        return _failed(error, settings)
    except (KeyboardInterrupt, click.Abort):
        return _interrupted(settings)
    except OSError as error:
        return _failed(failure_text.FileFailed.of(error), settings)
    except Exception as error:  # noqa: BLE001 - the last boundary: nobody is shown a trace who did not ask
        return _failed(_internal(error), settings, error)


def _run(command: click.Command, name: str, arguments: list[str], settings: Settings) -> ExitCode:
    try:
        with command.make_context(name, list(arguments), obj=settings) as context:
            result = command.invoke(context)
    except click.exceptions.NoArgsIsHelpError as shown:
        if settings.output != "json":
            shown.show()
            return ExitCode.USAGE
        raise _usage_error("a verb is missing", name) from shown
    except click.ClickException as error:
        settings.output = _form_asked_for(arguments, settings.output)  # -o may stand behind the mistake
        about = getattr(error, "ctx", None)
        raise _usage_error(_usage_text(error), about.command_path if about else name) from error
    except click.exceptions.Exit as ending:
        return ExitCode(ending.exit_code)
    return result if isinstance(result, ExitCode) else ExitCode.DONE


def _usage_text(error: click.ClickException) -> str:
    """The text of a usage error, with a remedy where click's own message has none."""
    message = error.format_message()
    option = getattr(error, "option_name", "")
    if isinstance(error, click.NoSuchOption) and option[1:2].isdigit():
        message = (
            f"{message.rstrip('.')}; write -- before a key or value that begins with -, as in: put n -- -5"
        )
    return message


def _usage_error(message: str, path: str) -> InvalidArgument:
    return InvalidArgument(message, hint=f"`{path} --help` lists its arguments and flags")


def _form_asked_for(arguments: Sequence[str], otherwise: str) -> str:
    """The requested output format, found without parsing the line, which may not parse."""
    for word, following in pairwise([*arguments, ""]):
        if word == "--":
            break
        form = following if word == "-o" else word.removeprefix("-o")
        if word.startswith("-o") and form in FORMS:
            return form
    return otherwise if otherwise in FORMS else "table"


def _failed(error: RingmillError, settings: Settings, trace: BaseException | None = None) -> ExitCode:
    code = exit_codes.of(error)
    failure_text.tell(error, code, settings)
    if settings.debug:
        import traceback

        traceback.print_exception(trace or error)
    return code


def _interrupted(settings: Settings) -> ExitCode:
    if settings.output == "json":
        return _failed(failure_text.Interrupted("interrupted"), settings)
    print("interrupted", file=sys.stderr)
    return ExitCode.INTERRUPTED


def _internal(error: Exception) -> RingmillError:
    return RingmillError(
        f"internal error: {type(error).__name__}: {error}",
        hint="--debug shows the trace; please report it",
        outcome="unknown",
    )


def settings_for_completion() -> Settings:
    """The settings, or the defaults where they do not parse: completion must not print errors."""
    try:
        return Settings.gathered(os.environ, _settings_files())
    except InvalidArgument:
        return Settings()


def _settings_files() -> tuple[str, ...]:
    """Those of the user who types now: a program may have changed its HOME since it was imported."""
    return (os.path.expanduser("~/.config/ringmill/config.toml"), "ringmill.toml")
