"""Jobs that are submitted over HTTP, followed, and fetched, at five real processes."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

LINES = """
from collections.abc import Iterator
from ringmill import job

def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield line, 1
"""
COUNTED = f"""{LINES}
def total(word: str, ones: Iterator[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(ones)

mine = job(map=words, reduce=total)
"""
PACKED = """
from ringmill import FileOutput, job
from shop.maps import words

mine = job(map=words, output=FileOutput(compression="gzip"))
"""
HOSTILE = {
    "reads": ("open({home!r} + '/default/token').read()", "Permission denied"),
    "asks": ("import socket; socket.create_connection(('127.0.0.1', {port}))", "Operation not permitted"),
    "writes": ("open({home!r} + '/planted', 'w')", "Permission denied"),
    "kills": ("import os; os.kill(os.getppid(), 9)", "Operation not permitted"),
    "ends": ("import os; os._exit(0)", "has ended"),
    "forges": ("import os; os.write(3, b'\\0\\0\\0\\1\\xc0'); os._exit(0)", "spoilt"),
}


@pytest.fixture
async def caller(shell: Shell) -> Any:
    token = (shell.folder / "home" / "default" / "token").read_text().strip()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        yield session


@pytest.fixture
def reader(shell: Shell) -> Iterator[str]:
    """A token that may read and no more."""
    yield shell.ok("auth", "issue", "looks", "--role", "read", "-o", "json").json["token"]
    shell.ok("auth", "revoke", "looks")


async def ended(caller: Any, gateway: str, job: str) -> dict[str, Any]:
    """The last event of a job."""
    async with caller.get(f"{gateway}/v1/jobs/{job}/events") as answer:
        events = (await answer.text()).strip().split("\n\n")
    name, _, data = events[-1].partition("\n")
    assert name == "event: over"
    found: dict[str, Any] = json.loads(data.removeprefix("data: "))
    return found


async def test_a_module_and_an_input_are_sent_and_the_output_is_fetched(caller: Any, gateway: str) -> None:
    form = aiohttp.FormData({"settings": json.dumps({"target": "mine.py:mine", "reducers": 1})})
    form.add_field("sources", COUNTED.encode(), filename="mine.py")
    form.add_field("input", b"b\na\nb\n", filename="letters.txt")
    taken = await caller.post(f"{gateway}/v1/jobs", data=form)
    assert taken.status == 202, await taken.text()
    job = (await taken.json())["job"]
    assert taken.headers["Location"] == f"/v1/jobs/{job}"
    assert (await ended(caller, gateway, job))["state"] == "SUCCEEDED"
    listed = await (await caller.get(f"{gateway}/v1/jobs/{job}/output")).json()
    assert [(each["name"], each["records"]) for each in listed["parts"]] == [("part-00000", 2)]
    part = await caller.get(f"{gateway}/v1/jobs/{job}/output/part-00000")
    assert await part.read() == b"a\t1\nb\t2\n"
    for name in ("part-00001", "_SUCCESS", "..%2F..%2Fhome%2Fdefault%2Ftoken"):
        assert (await caller.get(f"{gateway}/v1/jobs/{job}/output/{name}")).status == 404


async def test_a_package_comes_as_a_zip_file_and_a_packed_part_is_unpacked(
    shell: Shell, caller: Any, gateway: str
) -> None:
    (shell.folder / "sold.txt").write_text("tea\n")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {"shop/__init__.py": "", "shop/maps.py": LINES, "shop/sales.py": PACKED}.items():
            archive.writestr(name, text)
    settings = {
        "target": "shop/sales.py:mine", "input": f"{shell.folder}/sold.txt", "output": f"{shell.folder}/sold",
        "reducers": 1,
    }  # fmt: skip
    form = aiohttp.FormData({"settings": json.dumps(settings)})
    form.add_field("sources", packed.getvalue(), filename="shop.zip")
    taken = await caller.post(f"{gateway}/v1/jobs", data=form)
    assert taken.status == 202, await taken.text()
    job = (await taken.json())["job"]
    assert (await ended(caller, gateway, job))["output"] == f"{shell.folder}/sold"
    place = f"{gateway}/v1/jobs/{job}/output/part-00000.gz"
    assert (await (await caller.get(place)).read())[:2] == b"\x1f\x8b"
    assert await (await caller.get(f"{place}?unpacked=true")).read() == b"tea\t1\n"


async def test_a_submission_that_is_sent_again_is_the_same_job(
    shell: Shell, caller: Any, gateway: str
) -> None:
    (shell.folder / "once.txt").write_text("a\n")
    asked = {"target": "m.py:mine", "sources": {"m.py": COUNTED}, "input": f"{shell.folder}/once.txt"}
    found = []
    for more in ({}, {}, {"reducers": 2}):
        answer = await caller.post(
            f"{gateway}/v1/jobs", json=asked | more, headers={"Idempotency-Key": "monday"}
        )
        found.append((answer.status, (await answer.json()).get("job", "")))
    assert found[0] == found[1] == (202, found[0][1])
    assert found[2] == (400, ""), "the id is that of another job"
    form = aiohttp.FormData({"settings": json.dumps({"target": "m.py:mine", "reducers": 3})})
    form.add_field("sources", COUNTED.encode(), filename="m.py")
    form.add_field("input", b"c\n", filename="other.txt")
    answer = await caller.post(f"{gateway}/v1/jobs", data=form, headers={"Idempotency-Key": "monday"})
    assert answer.status == 400, await answer.text()
    assert not list((shell.folder / "jobs").rglob("*other.txt")), "it was withdrawn"


@pytest.mark.parametrize("how", HOSTILE)
async def test_a_module_that_is_hostile_reaches_nothing_of_the_gateway(
    shell: Shell, caller: Any, gateway: str, how: str
) -> None:
    line, told = HOSTILE[how]
    text = line.format(home=str(shell.folder / "home"), port=gateway.rpartition(":")[2])
    asked = {"target": "m.py:mine", "sources": {"m.py": text}, "input": "/nowhere"}
    answer = await caller.post(f"{gateway}/v1/jobs", json=asked)
    document = await answer.json()
    assert answer.status == 400 and told in document["detail"], document
    assert not (shell.folder / "home" / "planted").exists()


async def test_no_module_is_imported_for_a_caller_without_the_role(gateway: str, reader: str) -> None:
    asked = {"target": "m.py:mine", "sources": {"m.py": HOSTILE["ends"][0]}, "input": "/x"}
    async with aiohttp.ClientSession() as session:
        nobody = await session.post(f"{gateway}/v1/jobs", json=asked)
        shown = {"Authorization": f"Bearer {reader}"}
        lesser = await session.post(f"{gateway}/v1/jobs", json=asked, headers=shown)
    assert (nobody.status, lesser.status) == (401, 403)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"target": "m.py"}, "target is 'm.py', need FILE.py:NAME"),
        ({"input": "letters.txt"}, "input is 'letters.txt', need an absolute path"),
        ({"output": "out"}, "output is 'out', need an absolute path"),
        ({"side": {"stop": "words"}}, "side is 'words', need an absolute path"),
        ({"weight": True}, "weight is true, need a whole number"),
        ({"sources": {}}, "the request has no sources"),
        ({"sources": {"../m.py": COUNTED}}, "the path '../m.py' of a source is not a plain one"),
        ({"params": {"no": "x"}}, "the job has no parameter no"),
        ({"color": "red"}, "the body has a member 'color'"),
        ({"params": {"a": "\ud800"}}, "params has half of a surrogate pair"),
        ({"output": "/\udc80"}, "output has half of a surrogate pair"),
        ({"sources": {"\ud800.py": COUNTED}}, "the path of a source has half of a surrogate pair"),
        ({"split_mib": 10**20}, "split_mib must be 1 to"),
        ({"input": {"a": {"b": "/c"}}}, 'input is {"b": "/c"}, need a text'),
        ({"sources": {"m.py": COUNTED, "m.py/n.py": ""}}, "have 'm.py' as a file and as a folder"),
    ],
)
async def test_what_is_wrong_with_a_submission_is_named(
    caller: Any, gateway: str, given: dict[str, Any], told: str
) -> None:
    asked = {"target": "m.py:mine", "sources": {"m.py": COUNTED}, "input": "/nowhere", **given}
    answer = await caller.post(f"{gateway}/v1/jobs", json=asked)
    document = await answer.json()
    assert answer.status == 400 and told in document["detail"], document


FIELD = '--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'
SETTINGS = FIELD.format(name="settings", more="", value='{"target": "m.py:mine", "input": "/x"}')
WITHOUT = SETTINGS.replace(', "input": "/x"', "")
SOURCES = FIELD.format(name="sources", more='; filename="m.py"', value=COUNTED)
INPUT = FIELD.format(name="input", more='; filename="left.txt"', value="left")
CHARSET = FIELD.format(name="_charset_", more="", value="x" * 32)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (INPUT + SETTINGS, "the body does not begin with a part 'settings'"),
        (SETTINGS + INPUT, "input is a part of the body and among the settings"),
        (WITHOUT + INPUT, "the request has no sources"),
        (WITHOUT.replace("}", ', "params": {"no": "x"}}') + INPUT + SOURCES, "the job has no parameter no"),
        (SETTINGS.replace("m.py:mine", "m.py") + INPUT, "target is 'm.py', need FILE.py:NAME"),
        (CHARSET + SETTINGS, "the body is not multipart/form-data"),
        (SETTINGS.replace('"/x"', '{"a": ' * 450 + '"/x"' + "}" * 450), "need a text"),
    ],
    ids=["late", "twice", "no sources", "no parameter", "target", "charset", "deep"],
)
async def test_a_form_that_is_refused_keeps_no_input(
    shell: Shell, caller: Any, gateway: str, body: str, told: str
) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await caller.post(f"{gateway}/v1/jobs", data=f"{body}--b--\r\n", headers=headers)
    document = await answer.json()
    assert answer.status == 400 and told in document["detail"], document
    assert not list((shell.folder / "jobs").rglob("*left.txt"))
