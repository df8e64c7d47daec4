"""A node asks for its place only once it knows that it can keep the token that comes with it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import ClusterId, NodeId
from ringmill.cluster.wire.join_tokens import JoinGrant
from ringmill.node import lifecycle
from ringmill.node.config import parse_arguments


@pytest.mark.parametrize("place", ["token", "data/token", "missing/token", "file/token"])
async def test_no_seed_is_asked_before_the_file_of_the_token_can_be_written(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its token would be used up, and the node a member that cannot run."""
    asked = []

    async def let_in(*_: object, **__: object) -> str:
        asked.append(sorted(os.listdir(tmp_path)))
        return "secret"

    monkeypatch.setattr(lifecycle, "secret_by_token", let_in)
    (tmp_path / "file").touch()
    token = JoinGrant(ClusterId(f"{1:032x}"), NodeId("n4"), 2_000_000_000, b"j" * 16).token("secret")
    path = tmp_path / place
    lines = {
        "--id": "n4", "--listen": "127.0.0.1:7104", "--data": str(tmp_path / "data"),
        "--token-file": str(path), "--seeds": "127.0.0.1:7101", "--join": token.text,
    }  # fmt: skip
    config = parse_arguments([part for line in lines.items() for part in line])
    assert config.join is not None
    joining = lifecycle._join(config, config.join, OsEntropy(), asyncio.Event(), None)
    if path.parent.name in {"missing", "file"}:
        with pytest.raises(InvalidArgument, match=f"--token-file '{path}' cannot be written"):
            await joining
        assert not asked
    else:
        assert await joining
        assert asked == [["data", "file"]] and path.read_text() == "secret\n"
