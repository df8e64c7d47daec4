"""Jobs on real Dask and Spark, each in a process of its own: what these engines import changes how exceptions
are pickled in a process, and simulated runs with it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.mark.parametrize(("engine", "module"), [("dask", "distributed"), ("spark", "pyspark")])
def test_on_another_engine_the_output_is_the_same(engine: str, module: str) -> None:
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    runs = Path(__file__).with_name("on_real_engines.py")
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", str(runs), "-k", engine],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert told.returncode == 0, told.stdout
    if " passed" not in told.stdout:  # as Spark without Java: it is installed, and cannot be asked
        pytest.skip(told.stdout.strip().splitlines()[-1])
