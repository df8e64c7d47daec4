"""The moments in the life of a job that its faults wait for: looks at the nodes and at the shared disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.messages.task_messages import JobStep, RunAttempt
from ringmill.cluster.mapreduce.outputs import part_name
from ringmill.simulator.disk.folder_tree import FolderTree
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.world.ground import Ground
from ringmill.simulator.world.node_process import DATA, SHARED, NodeProcess
from ringmill.simulator.world.tasks import SimulatedTask

__all__ = [
    "attempts_at_work",
    "half_way",
    "idle_mappers",
    "keepers",
    "keepers_with_workers",
    "map_outputs",
    "next_part",
    "parts_to_update",
    "publications",
    "publishers",
    "staged_parts",
    "tasks_at_work",
]

_SCRATCH: Final = f"{DATA}/scratch"


def tasks_at_work(node: NodeProcess) -> list[SimulatedTask]:
    """Task processes that are at anything."""
    return [task for task in node.spawner.running() if task.work] if node.spawner else []


def attempts_at_work(node: NodeProcess) -> list[SimulatedTask]:
    """Task processes that run code of a job."""
    return [task for task in tasks_at_work(node) if isinstance(task.work, RunAttempt)]


def publications(ground: Ground) -> list[SimulatedTask]:
    """Task processes that make an output visible."""
    working = [task for node in ground.nodes.values() for task in tasks_at_work(node)]
    return [task for task in working if isinstance(task.work, JobStep) and task.work.what == "publish"]


def half_way(ground: Ground) -> list[SimulatedTask]:
    """Those of them that may have begun to move parts: a folder with some is there."""
    gathered = any(
        "/result-" in path
        for job in _inside(ground.shared, SHARED)
        for path in (_inside(ground.shared, job) if ".ringmill-" in job else ())
    )
    return publications(ground) if gathered else []


def keepers_with_workers(ground: Ground) -> list[tuple[NodeProcess, NodeProcess]]:
    """Each node that keeps a job, with each other one that runs code of a job."""
    nodes = list(ground.nodes.values())
    workers = [node for node in nodes if attempts_at_work(node)]
    return [
        (keeper, worker)
        for keeper in nodes
        if _keeps_a_job(keeper)
        for worker in workers
        if worker is not keeper
    ]


def keepers(ground: Ground) -> list[NodeProcess]:
    """Nodes that keep a job, whatever has become of it so far."""
    return [node for node in ground.nodes.values() if _keeps_a_job(node)]


def publishers(ground: Ground) -> list[NodeProcess]:
    """Those of them that make an output visible."""
    works = {node.name: [task.work for task in tasks_at_work(node)] for node in keepers(ground)}
    return [
        node
        for node in keepers(ground)
        if any(isinstance(work, JobStep) and work.what == "publish" for work in works[node.name])
    ]


def idle_mappers(ground: Ground) -> list[NodeProcess]:
    """Nodes with map outputs that neither reduce nor keep a job, while another reduces."""
    nodes = list(ground.nodes.values())
    reducing = [node for node in nodes if _is_reducing(node)]
    idle = [node for node in nodes if node not in reducing and not _keeps_a_job(node)]
    return [node for node in idle if reducing and map_outputs(node)]


def _is_reducing(node: NodeProcess) -> bool:
    return node.spawner is not None and any(task.is_reducing for task in node.spawner.running())


def _keeps_a_job(node: NodeProcess) -> bool:
    return node.node is not None and not all(view.is_over for view in node.node.jobs.views())


def map_outputs(node: NodeProcess) -> list[str]:
    """Files in folders of map attempts that hold anything."""
    disk = node.disk.lossy
    attempts = [inner for job in _inside(disk, _SCRATCH) for inner in _inside(disk, job)]
    found = [path for attempt in attempts if "/map-" in attempt for path in _inside(disk, attempt)]
    return [path for path in found if disk.exists(path) and not disk.is_dir(path) and disk.size(path)]


def staged_parts(shared: FolderTree) -> Iterator[str]:
    """Parts in the folders of reduce attempts: nothing has been moved out of there yet."""
    for job in _inside(shared, SHARED):
        for attempt in _inside(shared, job) if ".ringmill-" in job else ():
            if "/reduce-" in attempt:
                yield from (path for path in _inside(shared, attempt) if "/part-" in path)


def parts_to_update(ground: Ground) -> Iterator[str]:
    """Parts of the round before whose states a reduce at work reads, or is about to read."""
    working = [task for node in ground.nodes.values() for task in attempts_at_work(node)]
    for work in (task.work for task in working if task.is_reducing):
        assert work is not None
        spec = JobSpec.decode(work.spec)
        if spec.keeps_states and isinstance(work, RunAttempt):
            path = f"{spec.inputs[0]}/{part_name(work.task)}"
            if ground.shared.exists(path):
                yield path


def next_part(shared: FolderTree, path: str) -> bytes:
    """What the part behind this one in its folder holds; behind the last one is the first."""
    folder, _, name = path.rpartition("/")
    names = sorted(name for name in shared.list(folder) if name.startswith("part-"))
    return shared.read_bytes(f"{folder}/{names[(names.index(name) + 1) % len(names)]}")


def _inside(disk: LossyDisk | FolderTree, folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in disk.list(folder)] if disk.is_dir(folder) else []
