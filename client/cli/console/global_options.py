"""The flags that verbs share: --cluster, --endpoints, -o, --timeout and a few more.

They may stand before or after the verb; each writes into the Settings of this command.  A verb refuses a flag
that means nothing to it, because a flag that is dropped in silence misleads.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import click

from ringmill.client.cli.console.settings import FORMS, LONGEST_TIMEOUT_S, Settings, seconds
from ringmill.cluster.errors import InvalidArgument

__all__ = ["DURATION", "check_given", "global_options"]

PREFIX = "settings_"


class _Duration(click.ParamType[float]):
    """A timeout: "500ms", "5s", "2m", or a number of seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            span_s = seconds(str(value))
        except InvalidArgument as error:
            self.fail(str(error), param, ctx)
        if not 0 < span_s <= LONGEST_TIMEOUT_S:
            self.fail(f"a timeout is above 0 and at most {LONGEST_TIMEOUT_S / 86400:.0f}d", param, ctx)
        return span_s


DURATION = _Duration()


class _ClusterName(click.ParamType[str]):
    """The name of a local cluster; a shell completes the existing names."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        from ringmill.client.local.local_state import cluster_names

        names = cluster_names(ctx.ensure_object(Settings).home_folder)
        return [click.shell_completion.CompletionItem(one) for one in names if one.startswith(incomplete)]


_TLS = {
    "ca": "certificates of the authority by which nodes with TLS are known",
    "cert": "certificate of this client, for nodes that look at it",
    "key": "key of --tls-cert",
}


def global_options(refused: Collection[str] = (), hidden: Collection[str] = ()) -> list[click.Option]:
    """New options for one command; their values go to the Settings, not to the command's function.

    Options in `refused` end in a usage error.  Help leaves out those in `refused` and in `hidden`.
    """
    options = [
        _stored("--cluster", type=_ClusterName(), metavar="NAME", help="local cluster to talk to  [default]"),
        _stored("--endpoints", metavar="A:P,B:P", help="addresses of nodes, instead of --cluster"),
        _stored(
            "--token-file",
            type=click.Path(),
            metavar="PATH",
            help="file with the cluster's token or one of a client's own, which nodes have to know",
        ),
        *(
            _stored(f"--tls-{name}", type=click.Path(), metavar="PATH", help=help_text)
            for name, help_text in _TLS.items()
        ),
        _stored("-o", "output", type=click.Choice(FORMS), help="output format  [table]"),
        _stored("--timeout", type=DURATION, metavar="TIME", help="give up after this time  [5s]"),
        _stored("--no-color", is_flag=True, default=None, help="print without colors"),
        _stored("-v", "--verbose", is_flag=True, default=None, help="print more detail"),
        _stored("--debug", is_flag=True, default=None, help="show a trace when something fails"),
    ]
    for option in options:
        option.hidden = _setting(option) in {*refused, *hidden}
        if _setting(option) in refused:
            option.callback = _refuse
    return options


def check_given(ctx: click.Context, refused: Collection[str], verb: str) -> None:
    """Raises UsageError when `verb` has no use for a flag that stood before it."""
    for name in sorted(ctx.ensure_object(Settings).given & set(refused)):
        raise click.UsageError(_means_nothing(name, verb), ctx)


def _stored(*names: str, **options: Any) -> click.Option:
    """An option kept under a name of its own, so that a verb may have one of the same long name."""
    attribute = names[-1].lstrip("-").replace("-", "_")
    flags = [name for name in names if name.startswith("-")]
    return click.Option([*flags, PREFIX + attribute], expose_value=False, callback=_store, **options)


def _store(ctx: click.Context, option: click.Parameter, value: object) -> None:
    if value is None:
        return
    settings, name = ctx.ensure_object(Settings), _setting(option)
    try:
        settings.set_by_flag(name, value, option.opts[-1])
    except InvalidArgument as error:
        raise click.BadParameter(str(error), ctx, option) from error


def _refuse(ctx: click.Context, option: click.Parameter, value: object) -> None:
    if value is not None:
        raise click.UsageError(_means_nothing(_setting(option), ctx.command_path), ctx)


def _means_nothing(name: str, verb: str) -> str:
    flag = "-o" if name == "output" else f"--{name.replace('_', '-')}"
    return f"{flag} means nothing to `{verb}`"


def _setting(option: click.Parameter) -> str:
    assert option.name is not None
    return option.name.removeprefix(PREFIX)
