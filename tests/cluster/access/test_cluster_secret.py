"""The text of a token file: one secret, and during a rotation one more (rule F9)."""

from __future__ import annotations

import pytest

from ringmill.cluster.access.cluster_secret import (
    ClusterSecret,
    HeldSecret,
    accepted_secrets,
    cluster_secret,
)
from ringmill.cluster.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "secret", "accepted"),
    [
        ("one\n", ClusterSecret("one"), ("one",)),
        ("one\nnext two\n", ClusterSecret("one", next="two"), ("one", "two")),
        ("two\r\nformer one", ClusterSecret("two", former="one"), ("two", "one")),
    ],
)
def test_a_text_has_the_secret_in_force_first(
    text: str, secret: ClusterSecret, accepted: tuple[str, ...]
) -> None:
    assert cluster_secret(text) == secret
    assert secret.accepted == accepted_secrets(secret.text) == accepted
    assert cluster_secret(secret.text) == secret
    assert not any(each in repr(secret) for each in accepted)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "two words",
        "one\ntwo",
        "one\nnext",
        "one\nlast two",
        "one\nnext two\nformer three",
        "one\nnext one",
        "é",
    ],
)
def test_another_text_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        cluster_secret(text)
    assert "two" not in refused.value.message.replace("the same secret twice", "")


def test_no_token_accepts_no_secret() -> None:
    assert accepted_secrets("") == ()


def test_a_token_changes_only_to_one_that_others_know_this_node_by() -> None:
    held, told = HeldSecret("one"), list[str]()
    held.on_change(told.append)
    for text in ("one\nnext two", "two\nformer one", "two"):
        held.change(text)
    with pytest.raises(InvalidArgument, match="no secret in common"):
        held.change("three")
    assert told == ["one\nnext two", "two\nformer one", "two"] and held.text == "two"
