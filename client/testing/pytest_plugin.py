"""Fixtures for pytest: a real cluster for a test.  pytest loads this by its entry point `ringmill`.

    def test_survives_a_crash(ringmill_cluster):
        with ringmill_cluster.client() as db:
            db.put("k", b"v", w=2)
            ringmill_cluster.kill("n2")
            assert db.get("k", r=2).value == b"v"

Nothing of ringmill is loaded before the first test that asks for a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ringmill.client.testing.scratch_cluster import ScratchCluster

__all__ = [
    "pytest_addoption",
    "pytest_runtest_makereport",
    "ringmill_cluster",
    "ringmill_clusters",
    "ringmill_shared_cluster",
]

_OPEN = pytest.StashKey["list[ScratchCluster]"]()
_SHARED = pytest.StashKey["ScratchCluster"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the settings of the fixtures."""
    parser.addini("ringmill_nodes", "nodes of the cluster of a test", default="3")
    parser.addini("ringmill_replicas", "owners of each partition; 3, or fewer if there are fewer nodes")


@pytest.fixture
def ringmill_cluster(ringmill_clusters: Callable[..., ScratchCluster]) -> ScratchCluster:
    """A new cluster for this test alone, of as many nodes as the ini option `ringmill_nodes` says."""
    return ringmill_clusters()


@pytest.fixture
def ringmill_clusters(request: pytest.FixtureRequest) -> Iterator[Callable[..., ScratchCluster]]:
    """Starts clusters for this test, with the arguments of ScratchCluster, and ends them after it."""
    with ExitStack() as held:
        opened = request.node.stash.setdefault(_OPEN, [])

        def start(**settings: Any) -> ScratchCluster:
            cluster = held.enter_context(_cluster(request.config, settings))
            opened.append(cluster)
            return cluster

        yield start


@pytest.fixture(scope="session")
def ringmill_shared_cluster(request: pytest.FixtureRequest) -> Iterator[ScratchCluster]:
    """One cluster for all tests that ask for it, in this process.

    They share its data: let each have keys or a keyspace of its own, and leave all nodes running.
    """
    with _cluster(request.config, {}) as cluster:
        request.session.stash[_SHARED] = cluster
        yield cluster


@pytest.hookimpl(hookwrapper=True)  # `wrapper` came with pluggy 1.2, and an error here ends all tests
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Show the end of the nodes' logs with a test that failed, or whose fixtures did."""
    report = (yield).get_result()
    if report.failed and call.when != "teardown":
        clusters = [*item.stash.get(_OPEN, [])]
        if _SHARED in item.session.stash and "ringmill_shared_cluster" in getattr(item, "fixturenames", ()):
            clusters.append(item.session.stash[_SHARED])
        for cluster in clusters:
            with suppress(Exception):  # whatever the test did to it, its own failure is what is shown
                for node, state, end in cluster.last_logs():
                    report.sections.append((f"ringmill {node}, {state}", end))


def _cluster(config: pytest.Config, settings: dict[str, Any]) -> ScratchCluster:
    from ringmill.client.testing.scratch_cluster import ScratchCluster  # noqa: PLC0415 - loaded on use

    defaults: dict[str, Any] = {"nodes": _count(config, "ringmill_nodes")}
    if config.getini("ringmill_replicas"):
        defaults["replicas"] = _count(config, "ringmill_replicas")
    return ScratchCluster(**{**defaults, **settings})


def _count(config: pytest.Config, name: str) -> int:
    text = str(config.getini(name))
    if not text.isdecimal():
        raise pytest.UsageError(f"{name} is {text!r}, and not a number")
    return int(text)
