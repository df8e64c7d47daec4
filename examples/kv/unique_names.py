"""User names that are given once, however many ask for them at the same moment.

A name is a register that nobody has set before: the first `cas` wins, and all others learn who did.
"""

from ringmill import Client, Conflict


def claim(db: Client, name: str, user: str) -> bool:
    """Whether the name belongs to the user now.  Asking again is not an error."""
    try:
        db.registers.cas(f"name:{name}", user.encode(), expect=None)
    except Conflict as conflict:
        return bool(conflict.detail["current"] == user.encode())
    return True


def owner(db: Client, name: str) -> str | None:
    found = db.registers.get(f"name:{name}").value
    return None if found is None else found.decode()


def give_back(db: Client, name: str, user: str) -> bool:
    """Whether the user had the name.  A name that somebody else has stays theirs."""
    try:
        db.registers.cas(f"name:{name}", None, expect=user.encode())
    except Conflict:
        return False
    return True
