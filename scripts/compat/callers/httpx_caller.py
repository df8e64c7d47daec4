"""httpx at the HTTP door: httpx_caller.py URL SECONDS prints how it went as JSON."""

from __future__ import annotations

import json
import sys

import httpx
from round_trips import round_trips


def main(url: str, seconds: str) -> None:
    with httpx.Client(base_url=f"{url}/v1/kv/default/", timeout=20) as client:

        def put(key: str, value: str) -> None:
            client.put(f"httpx-{key}", content=value).raise_for_status()

        def get(key: str) -> str:
            return str(client.get(f"httpx-{key}").raise_for_status().text)

        result = round_trips(put, get, float(seconds), (httpx.HTTPError,))
        print(json.dumps({"version": httpx.__version__, **result}))


if __name__ == "__main__":
    main(*sys.argv[1:])
