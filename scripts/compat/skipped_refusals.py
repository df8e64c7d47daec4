"""A plugin of pytest for fakeredis's machines, which compare fakeredis with a server command by command.

What the server refuses on purpose has changed nothing there, so it is not asked of fakeredis either, and the
machine goes on.  Everything else is compared as it was written.
"""

from __future__ import annotations

from typing import Any

__all__ = ["pytest_collection_finish"]


def pytest_collection_finish(session: Any) -> None:
    """Wrap the comparison once the machines are loaded."""
    from test.test_hypothesis.base import BaseMachine  # type: ignore[import-not-found]  # of the suite that runs

    compare = BaseMachine._compare

    def compare_what_is_offered(machine: Any, command: Any) -> None:
        real = machine.real
        answers: list[Any] = []
        ask = real.execute_command

        def answered(*args: Any) -> Any:
            outcome = answers.pop()
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        try:
            answers.append(ask(*command.args))
        except Exception as error:  # noqa: BLE001 - whatever it is, the comparison gets it
            if "is not offered" in str(error):
                return
            answers.append(error)
        real.execute_command = answered
        try:
            compare(machine, command)
        finally:
            del real.execute_command

    BaseMachine._compare = compare_what_is_offered
