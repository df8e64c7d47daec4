"""A shopping cart that takes changes on both sides of a split and loses no item: siblings, merged on reading.

A cart is an object, written with the context of a read.  Two devices that write at once leave two siblings;
whoever reads merges them, by the larger quantity of each item, and the next change writes the merge with the
context of both.  An item that was removed on one side and kept on the other comes back: better than one that
is lost.  One more of the same item on both sides is one more in all; where each has to count, keep quantities
in a keyspace of policy counter.
"""

import json
from collections.abc import Sequence

from ringmill import EMPTY, Client

Cart = dict[str, int]


def merge(carts: Sequence[bytes]) -> bytes:
    merged: Cart = {}
    for cart in carts:
        for item, quantity in json.loads(cart).items():
            merged[item] = max(quantity, merged.get(item, 0))
    return json.dumps(merged, sort_keys=True).encode()


def look(db: Client, user: str) -> Cart:
    found = db.get(f"cart:{user}", None)
    cart: Cart = {} if found is None else json.loads(found.one(merge))
    return cart


def change(db: Client, user: str, item: str, by: int) -> Cart:
    """Add to the quantity of an item, or take from it; at 0 the item is gone."""
    found = db.get(f"cart:{user}", None)
    cart: Cart = {} if found is None else json.loads(found.one(merge))
    cart[item] = max(0, cart.get(item, 0) + by)
    if not cart[item]:
        del cart[item]
    context = EMPTY if found is None else found.context
    db.put(f"cart:{user}", json.dumps(cart, sort_keys=True).encode(), context=context)
    return cart
