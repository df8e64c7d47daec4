"""The committed gRPC stubs were made from the proto files beside them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_recorded_hash_of_proto_matches_the_files() -> None:
    subprocess.run([sys.executable, str(ROOT / "scripts" / "proto.py"), "--check"], check=True)
