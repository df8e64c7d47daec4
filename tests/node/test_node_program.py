"""`python -m node`: what forbids a start is one line and an exit code."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_a_data_folder_that_cannot_be_made_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    token, file = tmp_path / "token", tmp_path / "file"
    token.write_text("secret")
    token.chmod(0o600)
    file.touch()
    place = ("--listen", "127.0.0.1:7991", "--data", f"{file}/data", "--token-file", str(token))
    done = subprocess.run(
        [sys.executable, "-m", "node", "--id", "n1", *place],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert [line.partition("cannot run: ")[2] for line in done.stderr.splitlines()] == [
        f"[Errno 20] Not a directory: '{file}/data'"
    ]
