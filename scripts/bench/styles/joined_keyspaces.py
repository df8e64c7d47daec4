"""Joins of two keyspaces by each strategy, for tasks/keyspace_joins.py."""

from collections.abc import Iterator

from ringmill import KvInput, Source, join


def paid(user: str, cents: str, name: str) -> Iterator[tuple[str, str]]:
    yield user, f"{name} {cents}"


ORDERS = Source("orders", input=KvInput("orders", consistency="one"))
USERS = Source("users", input=KvInput("users", consistency="one"))
copartitioned = join(ORDERS, USERS, on="{tag}", result=paid, strategy="copartitioned")
by_hash = join(ORDERS, USERS, on="{tag}", result=paid, strategy="hash")
by_merge = join(ORDERS, USERS, on="{tag}", result=paid, strategy="merge")
