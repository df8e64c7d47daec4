"""Guesses the intended verb when a user types an unknown one: a typo, or the word of another tool."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

__all__ = ["did_you_mean"]

# Words of redis-cli, etcdctl, kubectl, nodetool and yarn, and verbs that belong to a group here.
_FOREIGN: Final = {
    "add": "put", "set": "put", "write": "put", "store": "put", "insert": "put",
    "cat": "get", "fetch": "get", "read": "get", "show": "get",
    "del": "delete", "rm": "delete", "remove": "delete", "unset": "delete",
    "find": "locate", "where": "locate", "getendpoints": "locate",
    "start": "cluster up", "up": "cluster up", "create": "cluster up", "init": "cluster form",
    "join": "cluster join-token",
    "down": "cluster down", "shutdown": "cluster down", "stop": "cluster stop", "drain": "cluster stop",
    "info": "cluster status", "nodes": "cluster status", "ps": "cluster status", "ring": "cluster status",
    "status": "cluster status",
    "clusters": "cluster list", "list": "cluster list", "ls": "cluster list",
    "kill": "cluster kill", "pause": "cluster pause", "restart": "cluster restart",
    "resume": "cluster resume", "logs": "cluster logs", "chaos": "cluster chaos",
    "autoscale": "cluster autoscale", "scale": "cluster autoscale",
    "jobs": "job list", "mapreduce": "job run", "run": "job run", "submit": "job run",
    "attach": "job follow", "wait": "job follow", "watch": "job follow",
    "inspect": "engine inspect", "verify": "engine verify", "dump": "engine dump", "check": "engine verify",
    "sim": "simulate", "test": "simulate", "tour": "demo",
    "man": "help", "usage": "help",
}  # fmt: skip


def did_you_mean(group: str, word: str, verbs: Iterable[str], program_verbs: Iterable[str] = ()) -> str:
    """ "; did you mean `ringmill put`?" for a word that `group` has no verb for, or "".

    `program_verbs` are those that the program has without a group, such as top: it is no verb of cluster.
    """
    known = set(verbs)
    foreign = _FOREIGN.get(word.lower(), "")
    program, _, inside = group.partition(" ")
    if inside and foreign.split(" ")[-1] in known:  # `job submit` means run of this group
        meant = [foreign.split(" ")[-1]]
    elif inside and word.lower() in set(program_verbs):
        inside, meant = "", [word.lower()]
    elif not inside and foreign:
        meant = [foreign]
    else:
        meant = get_close_matches(word.lower(), sorted(known), n=1)
    return f"; did you mean `{' '.join([program, inside, meant[0]]).replace('  ', ' ')}`?" if meant else ""
