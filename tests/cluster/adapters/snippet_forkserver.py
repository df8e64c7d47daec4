"""A forkserver whose task processes run a snippet of Python: the machinery without jobs."""

import socket
import sys

from ringmill.cluster.adapters.processes.forkserver import Forkserver
from ringmill.cluster.adapters.processes.pids_group import PidsGroups


def run_snippets(connection: socket.socket) -> None:
    stream = connection.makefile("rwb", buffering=0)
    while header := stream.read(4):
        snippet = stream.read(int.from_bytes(header, "big")).decode()

        def answer(text: str) -> None:
            body = text.encode()
            connection.sendall(len(body).to_bytes(4, "big") + body)

        exec(snippet, {"answer": answer})


if __name__ == "__main__":
    *options, descriptor = sys.argv[1:]
    groups = PidsGroups(None) if "--without-groups" in options else None
    Forkserver(socket.socket(fileno=int(descriptor)), run_snippets, groups).run()
