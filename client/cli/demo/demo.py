"""`ringmill demo`: a tour of claims, each shown and checked; the exit code is not 0 when one fails.

It runs a cluster of its own on free ports in a temporary folder, and removes everything at the end, also
after Ctrl-C.  The chapters are the other files of client/cli/demo.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.demo.demo_story import Story
from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalCluster, load_cluster, read_token
from ringmill.client.local.log_files import tail
from ringmill.client.local.processes import end_as_by_ctrl_c

__all__ = ["demo"]

WRITES = 6000
FAST_WRITES = 1200
FAST_PARTITIONS = 32  # in place of the usual 256, as two changes of members move them
FAST_PAUSE_S = 0.05  # of each writer


@click.command()
@click.option("--fast", is_flag=True, help="a shorter tour with fewer writes and partitions")
@click.pass_obj
def demo(settings: Settings, fast: bool) -> ExitCode:
    """Take the tour: quorums, a node killed under load, members that change, a word count beside a kill."""
    end_as_by_ctrl_c()  # a terminated tour cleans up, too, and one whose terminal is closed
    home = tempfile.mkdtemp(prefix="ringmill-demo-")
    folder = os.path.join(home, "demo")
    story = Story(settings)
    has_ended = False
    try:
        _tour(story, folder, is_short=fast)
        has_ended = True
    finally:
        _take_down(story, folder)
        if has_ended and story.has_held:
            shutil.rmtree(home, ignore_errors=True)
        else:
            output.note(f"the nodes' logs are kept in {folder}/logs")
    _sum_up(settings, story)
    return ExitCode.DONE if story.has_held else ExitCode.FAILED


def _tour(story: Story, folder: str, *, is_short: bool) -> None:
    from ringmill.client.cli.demo.demo_cluster import kill_under_load, quorums, start
    from ringmill.client.cli.demo.demo_jobs import count_words
    from ringmill.client.cli.demo.demo_members import come_and_go
    from ringmill.client.connection import connect

    cluster = start(story, folder, {"partitions": FAST_PARTITIONS} if is_short else {})

    async def chapters() -> None:
        endpoints = [node.address for node in cluster.nodes]
        async with connect(endpoints, token=read_token(folder)) as db:
            await quorums(story, db)
            writes = FAST_WRITES if is_short else WRITES
            pause_s = FAST_PAUSE_S if is_short else 0.0
            await kill_under_load(story, db, cluster, writes, pause_s)
            changed = await come_and_go(story, db, folder, pause_s)
            await count_words(story, db, changed, os.path.dirname(folder))  # tasks may not write in it

    asyncio.run(chapters())


def _take_down(story: Story, folder: str) -> None:
    cluster = load_cluster(folder)
    if cluster is None:
        return
    try:
        story.chapter("Leave nothing behind")
    finally:  # a terminal that was closed takes no text
        local_cluster.stop_nodes(cluster.nodes)
    left = _processes_of(cluster)
    story.check("no process of the cluster is left", ok=not left, seen=", ".join(left))
    if not story.has_held:
        for node in cluster.nodes:
            for line in tail(cluster.log_path(node), 5):
                output.note(f"{node.id}  {line}")


def _processes_of(cluster: LocalCluster) -> list[str]:
    """Processes that still name the cluster's folder, or sit in it."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd", "status"]):
        named = " ".join(process.info["cmdline"] or ())
        is_there = cluster.folder in named or (process.info["cwd"] or "").startswith(cluster.folder)
        if is_there and process.info["status"] != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
            found.append(f"pid {process.pid} {named[:60]}")
    return found


def _sum_up(settings: Settings, story: Story) -> None:
    document = story.document()
    failed = [claim["claim"] for claim in story.claims if not claim["ok"]]
    if settings.output == "json":
        output.show(settings, document, (), ())
        return
    slow = f", {len(story.slow)} slow" if story.slow else ""
    print(f"\n{len(story.claims)} claims, {len(failed)} failed{slow}, {document['seconds']} s")
    output.next_command(settings, "ringmill cluster up", "ringmill put hello world")
