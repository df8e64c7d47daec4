"""Rebuild the gRPC stubs of proto/ into cluster/wire/stubs/ (`make proto`); `--check` only compares hashes.

Stubs and their type files are committed, with a hash of proto/ beside them, so that nobody needs protoc.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
STUBS = ROOT / "cluster" / "wire" / "stubs"
PACKAGE = "ringmill/cluster/wire/stubs"
RECORD = STUBS / "proto.sha256"


def proto_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted(PROTO.glob("*.proto")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def build() -> None:
    import grpc_tools
    from grpc_tools import protoc

    for stale in [*STUBS.glob("*_pb2*.py"), *STUBS.glob("*_pb2*.pyi")]:
        stale.unlink()
    names = sorted(path.name for path in PROTO.glob("*.proto"))
    # The virtual folder makes the stubs import each other by the name under which they are installed.
    # `ringmill`.
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    status = protoc.main(
        ["protoc", f"-I{PACKAGE}={PROTO}", f"-I{well_known}",
         f"--python_out={ROOT}", f"--grpc_python_out={ROOT}",
         f"--mypy_out={ROOT}", f"--mypy_grpc_out={ROOT}", *[f"{PACKAGE}/{name}" for name in names]]
    )  # fmt: skip
    if status:
        raise SystemExit(status)
    RECORD.write_text(proto_hash() + "\n")
    print(f"{len(names)} files of proto/ built into cluster/wire/stubs/")


if __name__ == "__main__":
    if "--check" in sys.argv:
        if RECORD.read_text().strip() != proto_hash():
            raise SystemExit("cluster/wire/stubs is older than proto/: run `make proto`")
    else:
        build()
