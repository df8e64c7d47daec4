"""Arguments of the verbs that run a job, on a cluster or here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import click

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import MAX_REDUCERS, MAX_SPLIT_MIB

__all__ = ["job_arguments", "job_arguments_of", "named_texts"]

Verb = TypeVar("Verb", bound=Callable[..., object])

_DECLARED: Final = {
    "target": click.argument("target", metavar="MODULE.py:NAME"),
    "inputs": click.option(
        "--input", "inputs", multiple=True, metavar="[NAME=]PATH",
        help="file, folder or glob to read, kv:KEYSPACE[/PREFIX], or job:ID for the output of "
        "another job; of a job with sources, the name of one and what it reads",
    ),
    "output": click.option(
        "--output", "output", metavar="FOLDER",
        help="folder to write, which appears complete or not at all; or kv:KEYSPACE",
    ),
    "reducers": click.option(
        "--reducers", type=click.IntRange(0, MAX_REDUCERS),
        help="number of reduce tasks and part files",
    ),
    "split_mib": click.option(
        "--split-mib", type=click.IntRange(1, MAX_SPLIT_MIB), metavar="MIB",
        help="input of one map task; by default it follows from the size of the whole input",
    ),
    "params": click.option(
        "--param", "params", multiple=True, metavar="NAME=VALUE",
        help="parameter, read by the job as ctx.params",
    ),
    "on_bad_record": click.option(
        "--on-bad-record", metavar="fail|quarantine:N",
        help="whether a record at which map fails ends the job, or up to N are set aside",
    ),
    "side": click.option(
        "--side", "side", multiple=True, metavar="NAME=PATH",
        help="file that every task may read, as ctx.side(NAME)",
    ),
    "overwrite": click.option(
        "--overwrite", is_flag=True, help="replace what output folder or keyspace hold"
    ),
}  # fmt: skip


def job_arguments(verb: Verb) -> Verb:
    """The job, what it reads and writes, and its parameters."""
    return job_arguments_of(*_DECLARED)(verb)


def job_arguments_of(*names: str) -> Callable[[Verb], Verb]:
    """Those of these names alone, for a verb that writes nothing, for one."""

    def declared(verb: Verb) -> Verb:
        for name in reversed(_DECLARED):
            if name in names:
                verb = _DECLARED[name](verb)
        return verb

    return declared


def named_texts(flag: str, texts: Sequence[str]) -> dict[str, str]:
    """Values by name.  Raises InvalidArgument for a text without a name."""
    form, example = ("NAME=PATH", "stop=words.txt") if flag == "--side" else ("NAME=VALUE", "word=error")
    named = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidArgument(f"{flag} {text!r} is not {form}", hint=f"{flag} {example}, for example")
        named[name] = value
    return named
