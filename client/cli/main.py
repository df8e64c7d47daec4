"""`ringmill`: the table of verbs.

Each group of verbs has its own file, imported on use (client/cli/lazy.py).  client/cli/running.py runs a
command line and turns its end into an exit code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.suggested_commands import set_verb_table
from ringmill.client.cli.lazy import NO_CLUSTER, LazyGroup, Verb
from ringmill.client.cli.running import run_command

__all__ = ["main", "ringmill"]

COMPLETING = "_RINGMILL_COMPLETE"


class _Program(LazyGroup):
    """The verbs, and --version, which is the verb `version` by its other name."""

    def invoke(self, ctx: click.Context) -> object:
        if not ctx.params.pop("is_version"):
            return super().invoke(ctx)
        command = self.get_command(ctx, "version")
        assert command is not None
        with command.make_context("version", [], parent=ctx) as alone:
            return command.invoke(alone)


ringmill = _Program(
    "ringmill",
    {
        "cluster": Verb(
            "ringmill.client.cli.cluster.cluster:cluster", "start, watch and disturb a local cluster"
        ),
        "put": Verb("ringmill.client.cli.kv.kv_write:put", "write a value"),
        "get": Verb("ringmill.client.cli.kv.kv_read:get", "read a key"),
        "delete": Verb("ringmill.client.cli.kv.kv_write:delete", "delete a key by writing a tombstone"),
        "touch": Verb("ringmill.client.cli.kv.kv_touch:touch", "give a value a new time to live"),
        "locate": Verb(
            "ringmill.client.cli.kv.kv_read:locate", "show where a key lives and what each owner holds"
        ),
        "watch": Verb(
            "ringmill.client.cli.kv.kv_watch:watch", "print what a key holds, again at each change"
        ),
        "scan": Verb("ringmill.client.cli.kv.kv_scan:scan", "print all keys, or those in a range"),
        "explain": Verb(
            "ringmill.client.cli.kv.kv_explain:explain",
            "read a key and show who was asked and what each owner said",
        ),
        "mget": Verb("ringmill.client.cli.kv.kv_many:mget", "read many keys"),
        "mput": Verb("ringmill.client.cli.kv.kv_many:mput", "write many keys"),
        "cas": Verb(
            "ringmill.client.cli.kv.register_verbs:cas", "set a register if it holds what is expected"
        ),
        "incr": Verb("ringmill.client.cli.kv.register_verbs:incr", "add to a number, once"),
        "register": Verb("ringmill.client.cli.kv.register_verbs:register", "read a register"),
        "keyspace": Verb("ringmill.client.cli.keyspace.keyspace:keyspace", "make, change and drop keyspaces"),
        "auth": Verb("ringmill.client.cli.auth.auth_group:auth", "say which clients may do what"),
        "ring": Verb("ringmill.client.cli.ring.ring:ring", "who owns what, and what a change would move"),
        "counters": Verb("ringmill.client.cli.kv.merging_groups:counters", "counters that merge"),
        "sets": Verb("ringmill.client.cli.kv.merging_groups:sets", "sets that merge"),
        "maps": Verb("ringmill.client.cli.kv.merging_groups:maps", "maps that merge"),
        "repair": Verb("ringmill.client.cli.repair_verbs:repair", "compare the owners of partitions"),
        "backup": Verb(
            "ringmill.client.cli.backup.backup:backup", "back up the cluster while it runs, and restore it"
        ),
        "coordinator": Verb(
            "ringmill.client.cli.jobs.coordinator_group:coordinator", "see and move the coordination of jobs"
        ),
        "job": Verb("ringmill.client.cli.jobs.job:job", "run MapReduce jobs on the nodes"),
        "bench": Verb("ringmill.client.cli.bench.bench:bench", "run a load on a cluster and measure it"),
        "top": Verb(
            "ringmill.client.cli.observing.top_verb:top", "what the nodes do at present, again and again"
        ),
        "doctor": Verb(
            "ringmill.client.cli.observing.doctor_verb:doctor", "find what is wrong, and what to do about it"
        ),
        "demo": Verb(
            "ringmill.client.cli.demo.demo:demo", "a guided tour that checks its own claims", NO_CLUSTER
        ),
        "gateway": Verb(
            "ringmill.client.cli.gateway_verb:gateway", "let clients in that speak HTTP or Redis's protocol"
        ),
        "node": Verb("ringmill.client.cli.programs:node", "run, check or reset a single node"),
        "ca": Verb(
            "ringmill.client.cli.ca_verbs:ca", "make the certificates of nodes that speak TLS", NO_CLUSTER
        ),
        "engine": Verb("ringmill.client.cli.engine_verbs:engine", "inspect the files of a node's storage"),
        "simulate": Verb(
            "ringmill.client.cli.programs:simulate", "run a whole cluster in the simulator", NO_CLUSTER
        ),
        "config": Verb("ringmill.client.cli.config_verbs:config", "see the settings that commands have"),
        "completion": Verb(
            "ringmill.client.cli.programs:completion", "print the completion script of a shell", NO_CLUSTER
        ),
        "help": Verb("ringmill.client.cli.programs:help_about", "show the help of a verb", NO_CLUSTER),
        "version": Verb("ringmill.client.cli.programs:version", "print the version", NO_CLUSTER),
    },
    "A leaderless key-value store and a MapReduce engine on the same nodes.",
)
set_verb_table(ringmill.refused_by)
ringmill.params.append(click.Option(["--version", "is_version"], is_flag=True, help="print the version"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    if COMPLETING in os.environ:
        return _complete(os.environ[COMPLETING])
    return run_command(ringmill, "ringmill", sys.argv[1:] if arguments is None else arguments)


def _complete(instruction: str) -> int:
    """Answer the completion script of a shell (`ringmill completion bash`), or print that script."""
    from click.shell_completion import shell_complete

    from ringmill.client.cli.running import settings_for_completion

    obj = settings_for_completion()
    failed = shell_complete(ringmill, {"obj": obj}, "ringmill", COMPLETING, instruction)
    return ExitCode.FAILED if failed else ExitCode.DONE
