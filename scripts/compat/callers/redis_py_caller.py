"""redis-py at the door for clients of Redis: redis_py_caller.py PORT SECONDS prints how it went as JSON."""

from __future__ import annotations

import json
import sys

import redis
from round_trips import round_trips


def main(port: str, seconds: str) -> None:
    with redis.Redis(port=int(port), decode_responses=True) as client:

        def get(key: str) -> str | None:
            found = client.get(f"py-{key}")
            return found if isinstance(found, str) else None

        def put(key: str, value: str) -> object:
            return client.set(f"py-{key}", value)

        result = round_trips(put, get, float(seconds), (redis.RedisError,))
        print(json.dumps({"version": redis.__version__, **result}))


if __name__ == "__main__":
    main(*sys.argv[1:])
