"""What a user sees of jobs, typed in a shell at five real processes."""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ringmill.client.blocking
from ringmill import run_local
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.jobs.job_modules import load_job_module
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import InvalidArgument, Unavailable

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
WORDCOUNT = f"{EXAMPLES}/wordcount.py:wordcount"
SLOW = """
import time
from collections.abc import Iterator
from ringmill import job

def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    print("at", offset)
    {body}
    yield line, 1

mine = job(map=words)
"""


def write_job(shell: Shell, name: str, body: str) -> str:
    (shell.folder / f"{name}.py").write_text(SLOW.format(body=body))
    return f"{name}.py:mine"


def texts(shell: Shell) -> str:
    folder = shell.folder / "texts"
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_text("the quick brown fox\njumps over the lazy dog\n" * 50)
    (folder / "b.txt").write_bytes(b"caf\xe9 the caf\xe9\n")  # no UTF-8
    return "texts"


def counted(output: Path) -> dict[bytes, int]:
    lines = [line for part in sorted(output.glob("part-*")) for line in part.read_bytes().splitlines()]
    return {word: int(count) for word, _, count in (line.rpartition(b"\t") for line in lines)}


def test_words_are_counted_and_the_report_can_be_relied_on(shell: Shell) -> None:
    source = texts(shell)
    done = shell.ok("job", "run", WORDCOUNT, "--input", source, "--output", "out", "-o", "json").json
    assert done["state"] == "SUCCEEDED" and done["tasks"]["reduce"] == 4 and done["tasks"]["retried"] == 0
    assert done["records"]["map_in"] == 101
    data = b"".join((shell.folder / source / name).read_bytes() for name in ("a.txt", "b.txt"))
    assert counted(shell.folder / "out") == Counter(data.split())
    assert (shell.folder / "out" / "_SUCCESS").exists()
    listed = shell.ok("job", "list", "-o", "json").json
    assert listed[0]["job"] == done["job"]
    (last,) = shell.ok("job", "history", "--limit", "1", "-o", "json").json
    parts = sum(part.stat().st_size for part in (shell.folder / "out").glob("part-*"))
    read = sum(part.stat().st_size for part in (shell.folder / source).iterdir())
    assert (last["job"], last["state"], last["error"]) == (done["job"], "SUCCEEDED", None)
    assert last["bytes"] == {"in": read, "out": parts}
    assert last["records"] == {"in": 101, "out": done["records"]["reduce_out"]}
    assert last["ended_at"] == pytest.approx(last["submitted_at"] + last["seconds"], abs=0.01)
    assert shell.ok("job", "history", "--state", "SUCCEEDED").out.startswith(done["job"].encode())
    status = shell.ok("job", "status", done["job"], "-o", "json").json
    assert {one["state"] for one in status["task_list"]} == {"done"}
    assert {"began_s", "phases_s", "cpu_s", "peak_bytes", "bytes_in"} <= set(status["attempts"][0])
    assert sum(one["records_out"] for one in status["attempts"]) == sum(
        done["records"][each] for each in ("map_out", "reduce_out")
    )
    told = shell.ok("job", "explain", done["job"], "-o", "json", "--html", "page.html").json
    full = shell.run("job", "explain", done["job"], "--html", "/dev/full")
    assert (full.code, "'/dev/full': No space left" in full.err) == (1, True), full
    assert [one["name"] for one in told["stages"]] == ["map", "reduce"] and not told["failures"]
    reduce = told["stages"][1]
    own = [one for one in status["attempts"] if one["task"].startswith("reduce") and one["counts"]]
    (node,) = {one["node"] for one in status["attempts"] if one["task"] == "map-0" and one["counts"]}
    away = sum(one["bytes_in"] for one in own if one["node"] != node)
    assert (reduce["bytes_travelled"], reduce["bytes_unpacked"] > 0) == (away, True)
    assert told["critical_path"][-1]["what"] in ("reduce", "commit")
    assert (shell.folder / "page.html").read_text().count("<rect") == len(status["attempts"])
    assert len(shell.ok("job", "explain", done["job"]).out.splitlines()) < 40
    assert b"map_in\t101\n" in shell.ok("job", "counters", done["job"]).out
    assert shell.run("job", "status", "nope").code == 3


def test_a_job_that_is_over_can_be_followed_and_its_output_read(shell: Shell) -> None:
    source = texts(shell)
    line = ("job", "run", WORDCOUNT, "--input", source, "--output", "read-back", "--reducers", "2")
    job = shell.ok(*line, "--detach", "-o", "json").json["job"]
    followed = shell.ok("job", "follow", job, "-o", "json").json
    assert (followed["job"], followed["state"]) == (job, "SUCCEEDED")
    assert shell.ok("job", "wait", job).out.startswith(f"job\t{job}\nstate\tSUCCEEDED\n".encode())
    status = shell.ok("job", "status", job).out.decode().splitlines()
    shown = dict(line.split("\t") for line in status if not line.startswith("  "))  # but for events
    assert shown["output"] == str(shell.folder / "read-back") and "map_in 101" in shown["records"]
    parts = [shell.folder / "read-back" / f"part-0000{number}" for number in range(2)]
    named = [row.split("\t") for row in shell.ok("job", "output", job).out.decode().splitlines()]
    assert named == [[str(part), str(part.stat().st_size)] for part in parts]
    assert shell.ok("job", "output", job, "--cat").out == b"".join(part.read_bytes() for part in parts)
    assert shell.run("job", "follow", "nope").code == shell.run("job", "output", "nope").code == 3
    for part in (*parts, shell.folder / "read-back" / "_SUCCESS"):
        part.unlink()
    assert shell.run("job", "output", job).code == 3
    purged = shell.ok("job", "purge", job, "-o", "json").json
    assert purged == {"job": job, "purged": True, "silent": []}
    assert shell.run("job", "status", job).code == shell.run("job", "purge", job).code == 3
    assert job not in [each["job"] for each in shell.ok("job", "list", "-o", "json").json]


def test_a_token_file_stands_for_the_clusters_own(shell: Shell) -> None:
    token = str(shell.folder / "home" / "default" / "token")
    assert shell.ok("--endpoints", address(shell), "job", "list", "--token-file", token).code == 0
    (shell.folder / "wrong").write_text("guessed\n")
    refused = shell.run("--endpoints", address(shell), "job", "list", "--token-file", "wrong")
    assert refused.code == ExitCode.UNREACHABLE and "--token-file" in refused.err


def test_an_output_that_exists_is_refused_without_overwrite(shell: Shell) -> None:
    source = texts(shell)
    line = ("job", "run", WORDCOUNT, "--input", source, "--output", "twice", "--reducers", "2")
    shell.ok(*line)
    refused = shell.run(*line)
    assert refused.code in (1, 2) and "overwrite" in refused.err
    shell.ok(*line, "--overwrite")
    assert len(list((shell.folder / "twice").glob("part-*"))) == 2


def test_bad_jobs_and_inputs_are_one_clear_error_each(shell: Shell) -> None:
    source = texts(shell)
    (shell.folder / "broken.py").write_text("def (:\n")
    for target, told in (
        ("broken.py:mine", "broken.py:1 does not parse"),
        ("absent.py:mine", "there is no file"),
        (f"{EXAMPLES}/wordcount.py:nothing", "wordcount"),
    ):
        ended = shell.run("job", "run", target, "--input", source, "--output", "never")
        assert ended.code == 2 and told in ended.err, ended
    missing = shell.run("job", "run", WORDCOUNT, "--input", "no-such-folder", "--output", "never")
    assert missing.code == 1 and "no-such-folder" in missing.err
    assert not (shell.folder / "never").exists()
    with (
        pytest.raises(Unavailable, match="did not prove that it is a node"),
        ringmill.client.blocking.Client(address(shell), timeout=20, token="guessed"),
    ):
        raise AssertionError("a client with another token was let in")
    shell.until_healthy()


def test_a_failing_job_shows_the_users_own_line_and_what_it_printed(shell: Shell) -> None:
    target = write_job(shell, "failing", "raise ValueError('unlucky')")
    ended = shell.run("job", "run", target, "--input", texts(shell), "--output", "failed")
    assert ended.code == 1
    assert "unlucky" in ended.err and "failing.py:8" in ended.err
    error = [line for line in ended.err.splitlines() if not line.startswith(("job ", "failing-", "  map-"))]
    assert len(error) < 12
    job = shell.ok("job", "list").out.split(b"\t")[0].decode()
    logs = shell.ok("job", "logs", job, "-o", "json").json
    assert logs and logs[0]["cause"] and "at 0" in logs[0]["output"]
    assert not (shell.folder / "failed").exists()
    assert f"ringmill job replay {job} map-0 --pdb" in ended.err
    again = shell.run("job", "replay", job, "map-0", "-o", "json")
    assert again.code == 1 and "unlucky" in again.err and "failing.py:8" in again.err
    code = shell.folder / "failing.py"
    code.write_text(code.read_text().replace("raise", "#"))
    changed = shell.run("job", "replay", job, "map-0")
    assert changed.code == 2 and "was not imported" in changed.err, changed
    mended = shell.run("job", "replay", job, "map-0", target, "-o", "json")
    assert mended.json["state"] == "SUCCEEDED" and "is not what job" in mended.err


def test_a_killed_job_exits_9_where_it_was_waited_for(shell: Shell) -> None:
    target = write_job(shell, "endless", "time.sleep(60)")
    waiting = shell.start("job", "run", target, "--input", texts(shell), "--output", "killed")
    job = wait_running(shell, "endless")
    assert shell.ok("job", "pause", job).out.split() == [b"job", job.encode(), b"state", b"PAUSED"]
    assert shell.ok("job", "status", job, "-o", "json").json["state"] == "PAUSED"
    assert b"RUNNING" in shell.ok("job", "resume", job).out
    shell.ok("job", "kill", job)
    _, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 9 and job.encode() in err


def test_ctrl_c_leaves_the_job_running_and_says_how_to_stop_it(shell: Shell) -> None:
    target = write_job(shell, "patient", "time.sleep(60)")
    waiting = shell.start("job", "run", target, "--input", texts(shell), "--output", "left")
    job = wait_running(shell, "patient")
    assert waiting.stderr is not None
    while job.encode() not in waiting.stderr.readline():  # until then the cluster's answer is on its way
        assert waiting.poll() is None
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 130 and f"ringmill job kill {job}".encode() in err
    assert shell.ok("job", "kill", job, "-o", "json").json["state"] == "KILLED"


def test_the_library_runs_jobs_and_watches_them(shell: Shell) -> None:
    source = texts(shell)
    token = (shell.folder / "home" / "default" / "token").read_text().strip()
    with ringmill.client.blocking.Client(address(shell), timeout=20, token=token) as db:
        paths = (str(shell.folder / source), str(shell.folder / "by-library"))
        state = db.jobs.run(WORDCOUNT, input=paths[0], output=paths[1])
        assert state.state == "SUCCEEDED" and db.jobs.status(state.job).is_over
        assert [one.state for one in db.jobs.watch(state.job)] == ["SUCCEEDED"]
        taken = db.jobs.run(WORDCOUNT, input=paths[0], output=ringmill.CollectOutput())
        lines = b"".join(part.read_bytes() for part in sorted(Path(paths[1]).glob("part-*")))
        assert lines.decode(errors="surrogateescape") == "".join(
            f"{word}\t{count}\n" for word, count in taken.collected
        )
        assert not list(Path.cwd().glob(".collected-*")), "what was taken is gone"
        with pytest.raises(InvalidArgument, match="for whoever waits"):
            db.jobs.submit(WORDCOUNT, input=paths[0], output=ringmill.CollectOutput())  # type: ignore[arg-type]


STYLES = """
from collections import Counter
from collections.abc import Iterable, Iterator
from ringmill import Context, Count, FileInput, FileOutput, Sum, Top, job

RAW, LINES = FileInput("raw"), FileOutput("lines")

def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1

def total(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)

def counted(lines: list[bytes]) -> Counter[str]:
    return Counter(b" ".join(lines).decode("latin-1").split())

def split(block: bytes) -> list[str]:
    return block.decode("latin-1").split()

def shares(offset: int, line: bytes) -> Iterator[tuple[bytes, float]]:
    yield line[:1], offset / 7

def chances(offset: int, line: bytes, ctx: Context) -> Iterator[tuple[bytes, float]]:
    yield line[:1], ctx.rng.random()

def some(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if b"e" in line]

def every(lines: list[bytes]) -> list[bytes]:
    return lines

by_line = job(map=words, combine=total, reduce=total)
by_fold = job(map=words, reduce=Sum())
by_batch = job(map_batch=counted, reduce=Sum())
by_block = job(map_batch=split, reduce=Count())
weights = job(map=shares, reduce=Sum(), input=RAW)
luckiest = job(map=chances, reduce=Top(3), input=RAW, output=FileOutput("jsonl"))
found = job(map_batch=some, input=RAW, output=LINES, order="input", reducers=3)
in_order = job(map_batch=every, input=RAW, output=LINES, order="total")
"""
STYLE_NAMES = ("by_line", "by_fold", "by_batch", "by_block", "weights", "luckiest", "found", "in_order")


def test_every_style_gives_the_bytes_of_one_process(shell: Shell) -> None:
    (shell.folder / "styles.py").write_text(STYLES)
    lines = [f"{number * 7919 % 30011} the fox {number % 97} {'x' * 160}\r\n" for number in range(6500)]
    (shell.folder / "many.txt").write_text("".join(lines), newline="")
    token = (shell.folder / "home" / "default" / "token").read_text().strip()
    made: dict[str, list[bytes]] = {}
    with ringmill.client.blocking.Client(address(shell), timeout=20, token=token) as db:
        for name in STYLE_NAMES:
            source, output = str(shell.folder / "many.txt"), shell.folder / f"styles-{name}"
            state = db.jobs.run(f"{shell.folder}/styles.py:{name}", input=source, output=output, split_mib=1)
            assert (state.state, state.stages[0].name, state.stages[0].total) == ("SUCCEEDED", "map", 2)
            made[name] = [part.read_bytes() for part in sorted(output.glob("part-*"))]
            with closing(OsFileSystem()) as files:
                definition = load_job_module("styles.py:" + name, files, str(shell.folder)).definition
            alone = run_local(definition, source, f"{output}-alone", split_mib=1)
            assert [Path(part).read_bytes() for part in alone.parts] == made[name], name
    assert made["by_line"] == made["by_fold"] == made["by_batch"] == made["by_block"]
    text = [line.encode().removesuffix(b"\n") for line in lines]
    assert b"".join(made["found"]).split(b"\n")[:-1] == [line for line in text if b"e" in line]
    assert b"".join(made["in_order"]).split(b"\n")[:-1] == sorted(text)


def address(shell: Shell) -> str:
    return str(shell.ok("cluster", "status", "-o", "json").json["nodes"][0]["address"])


def wait_running(shell: Shell, stem: str) -> str:
    """The id of the job whose module is `stem`, once a task of it runs."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for one in shell.ok("job", "list", "-o", "json").json:
            if one["name"].startswith(stem) and one["state"] == "RUNNING":
                return str(one["job"])
        time.sleep(0.1)
    raise AssertionError(f"no job of {stem} runs")
