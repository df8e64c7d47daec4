"""`import ringmill` is light, and names everything it promises."""

from __future__ import annotations

import subprocess
import sys

import ringmill


def test_importing_ringmill_and_a_job_module_loads_no_grpc_and_no_extra() -> None:
    program = (
        "import sys, ringmill, examples.wordcount; "
        "heavy = {'grpc', 'google.protobuf', 'click', 'pyarrow'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_public_name_loads() -> None:
    assert {"connect", "job", "run_local"} <= set(ringmill.__all__)
    for name in ringmill.__all__:
        assert getattr(ringmill, name) is not None
        assert name in dir(ringmill)
