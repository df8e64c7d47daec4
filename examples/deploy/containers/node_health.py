"""Ask the node of this container for its health: `node_health.py liveness`, `startup` or `readiness`.

Exit code 0 when it serves.

The probes of container platforms that speak gRPC speak no TLS, so this is run in the container.  It dials the
node at the address that it advertises, as the settings of the node in the environment say.
"""

from __future__ import annotations

import os
import sys

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

TIMEOUT_S = 3.0


def main() -> int:
    address = os.environ.get("RINGMILL_ADVERTISE") or os.environ["RINGMILL_LISTEN"]
    authority = os.environ.get("RINGMILL_NODE_TLS_CA", "")
    try:
        with _channel(address, authority) as channel:
            request = HealthCheckRequest(service=sys.argv[1])
            status = HealthStub(channel).Check(request, timeout=TIMEOUT_S).status
    except grpc.RpcError as error:
        print(f"{address}: {error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    print(HealthCheckResponse.ServingStatus.Name(status))
    return int(status != HealthCheckResponse.SERVING)


def _channel(address: str, authority: str) -> grpc.Channel:
    if not authority:
        return grpc.insecure_channel(address)
    with open(authority, "rb") as file:
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(file.read()))


if __name__ == "__main__":
    sys.exit(main())
