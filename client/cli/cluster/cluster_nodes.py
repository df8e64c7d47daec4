"""`ringmill cluster stop`, `kill`, `pause`, `resume`, `restart`: single nodes of a local cluster."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

import click

from ringmill.client.cli.cluster.local_verbs import pass_local
from ringmill.client.cli.console import output
from ringmill.client.cli.console.failure_text import shown_error
from ringmill.client.cli.console.settings import Settings, bounded_span_s
from ringmill.client.local import local_cluster, processes
from ringmill.client.local.local_forming import RESTART_TIMEOUT_S, start_again
from ringmill.client.local.local_state import LocalCluster, LocalNode
from ringmill.cluster.errors import InvalidArgument, RingmillError

__all__ = ["kill", "pause", "restart", "restart_nodes", "resume", "stop"]

_MOST_FOR_JOBS_S: Final = 86_400.0


@click.command()
@click.argument("nodes", nargs=-1, required=True)
@pass_local
def stop(settings: Settings, nodes: tuple[str, ...]) -> None:
    """Stop nodes in order (SIGTERM): each leaves service first, so that no request fails."""

    def act(node: LocalNode) -> str:
        return local_cluster.stop_nodes([node])[node.id]

    local_cluster.required_cluster(settings.cluster_folder)
    with local_cluster.exclusively(settings.cluster_folder):
        _each(settings, nodes, act)
    output.next_command(settings, "ringmill cluster status", f"ringmill cluster restart {' '.join(nodes)}")


@click.command()
@click.argument("nodes", nargs=-1, required=True)
@pass_local
def kill(settings: Settings, nodes: tuple[str, ...]) -> None:
    """Kill nodes with SIGKILL, as a crash would."""

    def act(node: LocalNode) -> str:
        local_cluster.signal_node(node, signal.SIGKILL)
        processes.wait_gone(node.pid, node.started, local_cluster.KILL_PATIENCE_S)
        return "killed"

    _each(settings, nodes, act)
    output.next_command(settings, "ringmill cluster status", f"ringmill cluster restart {' '.join(nodes)}")


@click.command()
@click.argument("nodes", nargs=-1, required=True)
@pass_local
def pause(settings: Settings, nodes: tuple[str, ...]) -> None:
    """Pause nodes with SIGSTOP: their connections stay open, but they do not answer."""

    def act(node: LocalNode) -> str:
        local_cluster.signal_node(node, signal.SIGSTOP)
        return "paused"

    _each(settings, nodes, act)
    output.next_command(settings, "ringmill cluster status", f"ringmill cluster resume {' '.join(nodes)}")


@click.command()
@click.argument("nodes", nargs=-1)
@pass_local
def resume(settings: Settings, nodes: tuple[str, ...]) -> None:
    """Resume paused nodes (SIGCONT): the named ones, or all."""

    def act(node: LocalNode) -> str:
        local_cluster.signal_node(node, signal.SIGCONT)
        return "resumed"

    if not nodes:
        cluster = local_cluster.required_cluster(settings.cluster_folder)
        nodes = tuple(one.id for one in cluster.nodes if local_cluster.node_state(one) == "paused")
    _each(settings, nodes, act)


@click.command()
@click.argument("nodes", nargs=-1)
@click.option("--rolling", is_flag=True, help="one after the other, each once the one before has caught up")
@click.option("--force", is_flag=True, help="with --rolling: whatever the state of the cluster is")
@click.option(
    "--jobs-within",
    metavar="TIME",
    help="with --rolling: wait before each node for running jobs to end, this long at most  [0s]",
)
@pass_local
def restart(
    settings: Settings, nodes: tuple[str, ...], rolling: bool, force: bool, jobs_within: str | None
) -> None:
    """Stop nodes (SIGTERM, then SIGKILL) and start them again on their data.

    With --rolling all nodes, or the named ones, in turn, so that no request fails; it stops at the first that
    does not come back, and --timeout is for each.
    """
    begun = time.perf_counter()
    if not rolling and (force or not nodes):
        raise InvalidArgument("--force needs --rolling" if force else "name the nodes, or all by --rolling")
    if not rolling and jobs_within is not None:
        raise InvalidArgument("--jobs-within needs --rolling")
    within_s = bounded_span_s("--jobs-within", jobs_within or "0s", 0.0, _MOST_FOR_JOBS_S)
    if rolling:
        from ringmill.client.cli.cluster.cluster_rolling import restart_rolling

        local_cluster.required_cluster(settings.cluster_folder)
        with local_cluster.exclusively(settings.cluster_folder):
            cluster = asyncio.run(restart_rolling(settings, nodes, is_forced=force, jobs_within_s=within_s))
    else:
        cluster = restart_nodes(settings.cluster_folder, nodes, settings.timeout)
    took_s = time.perf_counter() - begun
    rows = [(node.id, node.pid, "up") for node in cluster.chosen(nodes)]
    document = {
        "cluster": cluster.name,
        "seconds": round(took_s, 3),
        "nodes": [{"id": name, "pid": pid, "state": state} for name, pid, state in rows],
    }
    output.show(settings, document, ("NODE", "PID", "STATE"), rows)
    output.next_command(settings, "ringmill cluster status --wait healthy")


def restart_nodes(folder: str, names: Sequence[str], timeout_s: float | None) -> LocalCluster:
    """Stop and start the named nodes and wait until they serve.  Returns the cluster with its new pids."""
    local_cluster.required_cluster(folder)
    with local_cluster.exclusively(folder):
        cluster = local_cluster.required_cluster(folder)
        chosen = cluster.chosen(names)
        local_cluster.stop_nodes(chosen)
        try:
            return asyncio.run(start_again(cluster, chosen, timeout_s or RESTART_TIMEOUT_S))
        except (RingmillError, OSError) as error:
            failure = shown_error(error)
            failure.detail["changed"] = _restarted(local_cluster.required_cluster(folder), chosen)
            failure.outcome = "unknown"
            raise failure from None


def _restarted(cluster: LocalCluster, chosen: Sequence[LocalNode]) -> str:
    """What has become of nodes whose restart has failed."""
    stopped = [node.id for node in chosen if local_cluster.node_state(cluster.node(node.id)) == "stopped"]
    running = [node.id for node in chosen if node.id not in stopped]
    nodes_of = {"started again and left running": running, "stopped, and not started again": stopped}
    return "; ".join(f"{' '.join(names)} {what}" for what, names in nodes_of.items() if names)


def _each(settings: Settings, names: Sequence[str], act: Callable[[LocalNode], str]) -> None:
    """Act on each named node, and say what was done.

    Raises NotFound before anything was done when one of them does not run.
    """
    cluster = local_cluster.required_cluster(settings.cluster_folder)
    chosen = cluster.chosen(names) if names else []
    local_cluster.check_run(chosen)
    rows: list[tuple[str, int, str]] = []
    for node in chosen:
        try:
            rows.append((node.id, node.pid, act(node)))
        except RingmillError as error:
            if rows:
                error.detail["changed"] = "; ".join(f"{name} {done}" for name, _, done in rows)
                error.outcome = "unknown"
            raise
    document = {
        "cluster": cluster.name,
        "nodes": [{"id": name, "pid": pid, "done": done} for name, pid, done in rows],
    }
    output.show(settings, document, ("NODE", "PID", "DONE"), rows)
