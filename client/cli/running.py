"""Runs one command line of a click program and turns its end into an exit code.

`ringmill` and `python -m ringmill.simulator` both go through here.  No verb calls exit: it returns an
ExitCode or raises; the table of codes is client/cli/frame/exit_codes.py.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import click

from ringmill.client.cli.frame import exit_codes, failure_text
from ringmill.client.cli.frame.exit_codes import ExitCode
from ringmill.client.cli.frame.settings import FORMS, Settings
from ringmill.cluster.errors import InvalidArgument, RingmillError

__all__ = ["run_command", "settings_for_completion"]

SETTINGS_FILES = (os.path.expanduser("~/.config/ringmill/config.toml"), "ringmill.toml")


def run_command(command: click.Command, name: str, arguments: Sequence[str]) -> int:
    """Run `command` (`name` in usage and help) with `arguments` and return the exit code."""
    _mend_standard_streams()
    settings = Settings(output=_form_asked_for(arguments, os.environ.get("RINGMILL_OUTPUT", "")))
    try:
        settings = Settings.gathered(os.environ, SETTINGS_FILES)
        for warning in settings.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        code = _run(command, name, list(arguments), settings)
        _flush()
    except BrokenPipeError:
        _abandon_stdout()
        return ExitCode.DONE
    except RingmillError as error:
        return _failed(error, settings)
    except (KeyboardInterrupt, click.Abort):
        return _interrupted(settings)
    except OSError as error:
        return _failed(failure_text.FileFailed.of(error), settings)
    except Exception as error:  # noqa: BLE001 - the last boundary: nobody is shown a trace who did not ask
        return _failed(_internal(error), settings, error)
    return code


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
        raise _usage_error(_told(error), about.command_path if about else name) from error
    except click.exceptions.Exit as ending:
        return ExitCode(ending.exit_code)
    return result if isinstance(result, ExitCode) else ExitCode.DONE


def _told(error: click.ClickException) -> str:
    """The usage error, with a remedy where click's own message has none."""
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
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
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


def _mend_standard_streams() -> None:
    """Replace closed output streams, and let none fail on a character it cannot encode.

    The system would give a closed stream's descriptor to the next socket, and an error meant for a closed
    stderr would be printed among the answers.  A closed stdin stays None, so that a verb that reads it can
    report that.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the rest of the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the rest of the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Raises FileFailed when the answer cannot be written, BrokenPipeError when nobody reads it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _abandon_stdout()
        raise failure_text.FileFailed(f"the answer cannot be written to stdout: {error.strerror}") from error


def _abandon_stdout() -> None:
    """Send what is left to /dev/null, so that the interpreter's last flush prints no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def settings_for_completion() -> Settings:
    """The settings, or the defaults where they do not parse: completion must not print errors."""
    try:
        return Settings.gathered(os.environ, SETTINGS_FILES)
    except InvalidArgument:
        return Settings()
