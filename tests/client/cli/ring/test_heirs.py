"""Who takes the place of whom, as it is typed: with an address, or as nodes that would be started here."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.main import main
from ringmill.client.cli.ring.heirs import heirs_of, local_heir
from ringmill.client.local import local_cluster, tcp_ports
from ringmill.client.local.local_state import LocalCluster, LocalNode
from ringmill.cluster.errors import InvalidArgument

NODES = tuple(LocalNode(f"n{number}", f"127.0.0.1:{7100 + number}", f"z{number}") for number in (1, 2, 3))


@pytest.fixture(autouse=True)
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = LocalCluster("c", str(tmp_path), 3, 16, NODES)
    monkeypatch.setattr(local_cluster, "required_cluster", lambda folder: cluster)
    monkeypatch.setattr(tcp_ports, "is_free", lambda port: True)


def test_an_heir_without_an_address_would_be_started_here_on_a_port_of_its_own() -> None:
    assert heirs_of(Settings(), ["n3=n9", "n1=n8=127.0.0.1:9000", "n2=n7"]) == {
        "n3": ("n9", "127.0.0.1:7104"),
        "n1": ("n8", "127.0.0.1:9000"),
        "n2": ("n7", "127.0.0.1:7105"),
    }
    assert local_heir(Settings(), "n3", "n9") == LocalNode("n9", "127.0.0.1:7104", "z3"), "in its zone"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["n3"], r"'n3' is not ID=NEW\[=ADDRESS\]"),
        (["n3="], "is not ID=NEW"),
        (["n3=n9="], "is not ID=NEW"),
        (["n3=n9", "n3=n8"], "names 'n3' twice"),
    ],
)
def test_anything_else_is_refused_by_its_shape(given: list[str], why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        heirs_of(Settings(), given)


def test_an_heir_on_another_machine_needs_its_address() -> None:
    with pytest.raises(InvalidArgument, match="n9 is on another machine") as refused:
        heirs_of(Settings(endpoints="h:1"), ["n3=n9"])
    assert "n3=n9=HOST:PORT" in refused.value.hint


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("n1 --dead", "--dead needs NODE=NEW"),
        ("n1 --no-wait", "--no-wait needs NODE=NEW"),
        ("n1=n9 --accept-data-loss", "--accept-data-loss is for NODE on a new disk"),
    ],
)
def test_an_option_of_the_other_form_is_refused(
    line: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cluster", "replace", *line.split()]) == 2
    assert why in capsys.readouterr().err
