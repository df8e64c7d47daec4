"""The digest by which `ringmill doctor` tells two states of one version apart."""

from __future__ import annotations

from pathlib import Path

from ringmill.cluster.adapters.own_version import code_below, own_code


def test_any_change_of_the_code_of_nodes_is_another_code(tmp_path: Path) -> None:
    (tmp_path / "node" / "jobs").mkdir(parents=True)
    (tmp_path / "client").mkdir()
    assert code_below(tmp_path) == "", "there is nothing to tell"
    source = tmp_path / "node" / "jobs" / "driver.py"
    source.write_text("TRIES = 1\n")
    first = code_below(tmp_path)
    (tmp_path / "client" / "shell.py").write_text("")
    (tmp_path / "node" / "jobs" / "driver.pyc").write_text("compiled")
    assert code_below(tmp_path) == first and len(first) == 12
    source.write_text("TRIES = 2\n")
    changed = code_below(tmp_path)
    source.rename(tmp_path / "node" / "driver.py")
    assert len({first, changed, code_below(tmp_path)}) == 3


def test_this_package_has_a_code() -> None:
    assert own_code() == code_below(Path(__file__).parents[2]) != "", "installed as links to the rooms"
