"""Fixtures for users' tests: a cluster for a test, with the nodes' logs beside a failure."""

from __future__ import annotations

import runpy

import pytest

from ringmill.client.testing import pytest_plugin

pytest_plugins = ["pytester"]

TESTS = """
def test_gets_a_cluster_and_fails(ringmill_cluster):
    with ringmill_cluster.client() as db:
        db.put("k", b"v")
        assert db.get("k").value == b"v"
    assert ringmill_cluster.nodes == ("n1",)
    ringmill_cluster.kill("n1")
    assert ringmill_cluster.state("n1") == "running"
"""


def test_a_failed_test_shows_the_logs_of_its_nodes(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nringmill_nodes = 1\n")
    pytester.makepyfile(TESTS)
    ended = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    ended.assert_outcomes(failed=1)
    ended.stdout.fnmatch_lines(["*assert 'stopped' == 'running'*", "*ringmill n1, stopped*", "*n1*"])


CLOSED = """
import shutil

def test_closes_its_cluster_and_fails(ringmill_cluster):
    ringmill_cluster.close()
    assert ringmill_cluster.folder == "elsewhere"

def test_removes_its_folder_and_fails(ringmill_clusters):
    cluster = ringmill_clusters(nodes=1)
    shutil.rmtree(cluster.folder)
    assert cluster.folder == "gone"
"""


def test_a_test_that_has_closed_its_cluster_fails_by_itself_and_shows_the_logs(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeini("[pytest]\nringmill_nodes = 1\n")
    pytester.makepyfile(CLOSED)
    ended = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    ended.assert_outcomes(failed=2)
    ended.stdout.fnmatch_lines(["*== 'elsewhere'*", "*ringmill n1, closed*", "*n1*"])
    ended.stdout.no_fnmatch_line("*INTERNALERROR*")


OTHERS = """
import pytest

def test_shares_a_cluster_and_fails(ringmill_shared_cluster):
    assert ringmill_shared_cluster.folder == "elsewhere"

@pytest.fixture
def broken(ringmill_shared_cluster):
    raise RuntimeError("no such luck")

def test_has_a_fixture_that_fails(broken):
    pass

def test_has_no_cluster_and_fails():
    assert "alone" == "in company"
"""


def test_a_shared_cluster_shows_its_logs_too_also_when_a_fixture_fails(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nringmill_nodes = 1\n")
    pytester.makepyfile(OTHERS)
    ended = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    ended.assert_outcomes(failed=2, errors=1)
    ended.stdout.fnmatch_lines(["*no such luck*", "*ringmill n1, running*", "*== 'elsewhere'*"])
    assert ended.stdout.str().count("ringmill n1, running") == 2


def test_an_invalid_number_is_one_clear_error(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nringmill_nodes = three\n")
    pytester.makepyfile("def test_it(ringmill_cluster):\n    pass\n")
    ended = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    ended.assert_outcomes(errors=1)
    ended.stdout.fnmatch_lines(["*ringmill_nodes is 'three', and not a number*"])


def test_it_is_loaded_where_pluggy_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pluggy 1.0 and pytest 7.2 are those of Debian 12: an error at the import ends all tests there."""

    def hookimpl(
        function: object = None,
        hookwrapper: bool = False,
        optionalhook: bool = False,
        tryfirst: bool = False,
        trylast: bool = False,
        specname: str | None = None,
    ) -> object:
        return function or (lambda decorated: decorated)

    monkeypatch.setattr(pytest, "hookimpl", hookimpl)
    assert runpy.run_path(pytest_plugin.__file__)["pytest_runtest_makereport"]
