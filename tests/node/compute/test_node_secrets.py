"""What a node calls its own: nothing of it is an input of a job, whoever submits it."""

from __future__ import annotations

import pytest

from ringmill.cluster.ids import NodeId
from ringmill.node.config import NodeConfig, TlsPaths
from ringmill.node.lifecycle import _containment


def test_data_token_and_key_are_no_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    config = NodeConfig(
        NodeId("n1"),
        "127.0.0.1:7101",
        "/srv/n1",
        token_file="/etc/ringmill/token",
        tls=TlsPaths("tls/n1.pem", "tls/n1.key", "tls/ca.pem"),
    )
    assert set(_containment(config).secrets) == {"/srv/n1", "/etc/ringmill/token", "/usr/tls/n1.key"}
