"""Commits the output: part files are staged beside it, moved into one folder, and made visible by one rename.

I/O only through the FileSystem passed in.  Every step can be repeated after a crash at any point: a part that
is missing from its place counts as moved only if the target has its size and checksum.  Before the rename
readers see nothing, or the previous output; after it they see everything.  An error is told as plain OSError
only when the result is still in its place and the former output in its own: then the rename was not done.

Rules J7, J8, J9, J10, J11 and J13: docs/protocol/jobs.md.  Layout: docs/formats/job.md, "Output".
"""

from __future__ import annotations

import contextlib
import json
import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import google_crc32c

from ringmill.cluster.errors import CorruptData, InvalidArgument, RingmillError
from ringmill.cluster.mapreduce.api.chains.stage_specs import chain_folder
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.outputs import SUCCESS, MapOutput, ReduceOutput, part_name, staging_folder
from ringmill.cluster.os_errors import Meaning, is_other_kind, meaning_of
from ringmill.cluster.ports import FileSystem, ReadFile
from ringmill.cluster.sometimes import sometimes

__all__ = [
    "OutputMayShow",
    "StagedPart",
    "attempt_folder",
    "commit_output",
    "loss_of_staging",
    "manifest",
    "refuse_existing",
    "remove_every_staging",
    "remove_stages",
    "remove_staging",
    "require_sight",
    "staged_part",
]

_REPLACED: Final = "replaced"
_REMOVED: Final = ".removed"
_READ_BYTES: Final = 1 << 20


class OutputMayShow(OSError):
    """A commit has failed while the former output was set aside, at the rename that shows the new one, or
    behind it: only another commit can tell."""


@dataclass(frozen=True, slots=True)
class StagedPart:
    """A winner's part file, what must be in it, and its name in the output."""

    partition: int
    path: str
    size: int
    crc32c: int
    records: int
    name: str

    @classmethod
    def of(cls, task: int, output: MapOutput | ReduceOutput, spec: JobSpec) -> StagedPart:
        """What the winner of a task has left: of a reduce, or of a map where nothing reduces."""
        if isinstance(output, MapOutput):
            [part] = output.partitions
            return cls(task, output.file, part.length, part.crc32c, part.records, spec.file_of(task))
        return cls(
            output.partition, output.file, output.size, output.crc32c, output.records_out,
            spec.file_of(output.partition),
        )  # fmt: skip

    def is_at(self, path: str, files: FileSystem) -> bool:
        """Whether a file that is there holds what the attempt has written.  Raises like `opened`."""
        with contextlib.closing(self.opened(path, files)) as file:
            return file.size == self.size and _checksum(file) == self.crc32c

    def opened(self, path: str, files: FileSystem) -> ReadFile:
        """A file that is there, to be read: the one way to open what a task has left.

        Raises CorruptData for what the job's code has put in its place, which is neither followed nor waited
        for: a link, a pipe, a device.  Raises OSError.
        """
        folder = posixpath.dirname(posixpath.dirname(path))  # of the attempt's own, which nobody else makes
        try:
            return files.open_below(folder, path)
        except OSError as error:
            if not is_other_kind(error):
                raise
            raise _no_file(self) from error


def attempt_folder(output: str, staging: str, attempt: AttemptId) -> str:
    """Where an attempt writes its part; worker and coordinator derive it, and no message names it."""
    return posixpath.join(staging_folder(output, staging), str(attempt))


def staged_part(spec: JobSpec, attempt: AttemptId) -> str:
    """The one file that the attempt leaves there."""
    name = part_name(attempt.task, spec.compression_of(attempt.task))
    return posixpath.join(attempt_folder(spec.output, spec.staging, attempt), name)


def refuse_existing(files: FileSystem, output: str, *, overwrite: bool) -> None:
    """Raise InvalidArgument when the output exists and may not be replaced."""
    if not files.exists(output):
        return
    if not overwrite:
        raise InvalidArgument(
            f"output {output} exists", hint="choose another folder, or --overwrite (overwrite=True)"
        )
    if not files.is_dir(output) or (files.list(output) and not files.exists(posixpath.join(output, SUCCESS))):
        raise InvalidArgument(f"output {output} is not the output of a job; it will not be overwritten")


def require_sight(files: FileSystem, staging: str, output: str) -> None:
    """Before a commit that is begun again.  Raise OutputMayShow when a shared file system may be away.

    Where it is mounted there is nothing then: that an output is not seen there does not say that it does not
    show, and nothing may be written there.
    """
    folder = staging_folder(output, staging)
    if files.exists(folder):
        return
    try:
        is_away = not files.list(posixpath.dirname(folder))
    except OSError as error:
        is_away = meaning_of(error) is Meaning.ABSENT  # the commit meets any other error itself
    if is_away:
        raise OutputMayShow(f"the output may show, but all files are gone: {folder}")


def loss_of_staging(files: FileSystem, staging: str, output: str, *, overwrite: bool) -> RingmillError | None:
    """Why attempts have no folder to write in any more; None while they have it.  Raises OSError."""
    folder = staging_folder(output, staging)
    try:
        files.list(folder)
    except FileNotFoundError:
        if files.exists(output) and not overwrite:
            return InvalidArgument(
                f"output {output} exists: another coordinator of the job, or another job, was faster"
            )
        return CorruptData(
            f"{folder} is gone with all parts: another coordinator of the job has removed it, or a user"
        )
    return None


def remove_staging(files: FileSystem, staging: str, output: str) -> None:
    """Remove the staging folder of a job, and put a former output back that nothing has replaced.

    The folder is renamed first.  A removal of many files can go on inside a folder that another coordinator
    of the job renames meanwhile, and would empty its output.
    """
    folder = staging_folder(output, staging)
    removed = f"{folder}{_REMOVED}"
    _discard(files, removed, output)  # a removal that did not end
    with contextlib.suppress(FileNotFoundError):
        files.rename(folder, removed)
    _discard(files, removed, output)


def remove_stages(files: FileSystem, spec: JobSpec) -> None:
    """Remove what the stages of a chain have written for each other."""
    files.remove_tree(chain_folder(spec))


def remove_every_staging(files: FileSystem, spec: JobSpec, term: int) -> None:
    """Remove all that coordinators up to a term have left of a job that is over.

    Who planned it and was then stopped or killed has left a folder that nobody else will use.
    """
    remove_staging(files, spec.staging, spec.output)
    parent, prefix = posixpath.split(staging_folder(spec.output, spec.job))
    for name in files.list(parent):
        planned = name.removeprefix(f"{prefix}.").removesuffix(_REMOVED)
        of_term = planned.partition(".")[0]
        if name.startswith(f"{prefix}.") and of_term.isdecimal() and int(of_term) <= term:
            remove_staging(files, f"{spec.job}.{planned}", spec.output)


def _discard(files: FileSystem, removed: str, output: str) -> None:
    replaced = posixpath.join(removed, _REPLACED)
    if files.exists(replaced) and not files.exists(output):
        try:
            files.rename(replaced, output)
        except OSError as error:
            if meaning_of(error) is not Meaning.TAKEN:
                raise
        else:
            files.fsync_dir(posixpath.dirname(output))
    files.remove_tree(removed)


def manifest(parts: Sequence[StagedPart]) -> bytes:
    """Content of _SUCCESS: the parts with size, CRC-32C and records.  Equal outputs have equal ones."""
    rows = [
        {"name": p.name, "size": p.size, "crc32c": f"{p.crc32c:08x}", "records": p.records}
        for p in sorted(parts, key=lambda part: part.partition)
    ]
    return (json.dumps({"version": 1, "parts": rows}, indent=1) + "\n").encode()


def commit_output(
    files: FileSystem, staging: str, output: str, parts: Sequence[StagedPart], *, overwrite: bool = True
) -> None:
    """Commit the parts as the output.  After a crash call it again with the same arguments until it returns.

    With `overwrite` an existing output is replaced; `refuse_existing` has decided whether it may be.
    Otherwise raises InvalidArgument when another job has made the output meanwhile.  Raises CorruptData when
    a part is neither in its place nor moved; OutputMayShow when the output may be visible or the former one
    is set aside; any other OSError when neither is the case.
    """
    wanted = manifest(parts)
    folder = staging_folder(output, staging)
    result, replaced = posixpath.join(folder, _result_name(parts)), posixpath.join(folder, _REPLACED)
    if _is_shown(files, output, result, parts, wanted):
        sometimes("an output that is shown is committed again")
    elif _gathered(files, output, parts, result, wanted):
        with _output_may_show(lambda: _is_undone(files, output, result, replaced)):
            if overwrite:
                _set_aside(files, output, result, replaced)
            _show(files, result, output)
    with _output_may_show():
        files.fsync_dir(posixpath.dirname(output))  # also when a former commit could show but not sync
    with contextlib.suppress(OSError):  # hidden leftovers beside the output; the output stands
        remove_staging(files, staging, output)


def _result_name(parts: Sequence[StagedPart]) -> str:
    """A folder for these parts alone: two coordinators of one job share the staging folder, and one may show
    its result while the other is half way with its own."""
    paths = "\n".join(part.path for part in parts)
    return f"result-{google_crc32c.value(paths.encode(errors='surrogatepass')):08x}"


@contextlib.contextmanager
def _output_may_show(is_undone: Callable[[], bool] = lambda: False) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_undone():
            raise
        text = f"{error.strerror or error}; the output may show already"
        raise OutputMayShow(error.errno, text, error.filename) from error


def _is_undone(files: FileSystem, output: str, result: str, replaced: str) -> bool:
    """Nothing shows and nothing is missing: no rename was done, or the former output is back.

    A rename onto a link that leads nowhere, a mount point or a forbidden path fails at every try.
    """
    if not files.exists(result):
        return False
    if files.exists(output) or not files.exists(replaced):
        return True
    try:
        files.rename(replaced, output)
    except OSError:
        return False
    return True


def _is_shown(
    files: FileSystem, output: str, result: str, parts: Sequence[StagedPart], wanted: bytes
) -> bool:
    """A former commit got as far as the rename.

    While a part is staged, nothing was moved yet: a former output with an equal manifest may be damaged, and
    proves nothing.
    """
    if files.exists(result) or any(files.exists(part.path) for part in parts):
        return False
    with _output_may_show(), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return files.read_bytes(posixpath.join(output, SUCCESS)) == wanted
    return False


def _gathered(
    files: FileSystem, output: str, parts: Sequence[StagedPart], result: str, wanted: bytes
) -> bool:
    """Gather the parts, unless a former coordinator of the job that was still at it has just shown them: a
    part is then neither in its place nor in the folder, which is gone or was made anew."""
    try:
        _gather(files, parts, result, wanted)
    except CorruptData:
        if files.exists(result) and not files.list(result):
            files.remove_tree(result)
        if not _is_shown(files, output, result, parts, wanted):
            raise
        sometimes("a former coordinator has shown the output meanwhile")
        return False
    return True


def _gather(files: FileSystem, parts: Sequence[StagedPart], result: str, wanted: bytes) -> None:
    """All parts in one folder with the manifest, and the names durable."""
    files.mkdir(result)
    files.fsync_dir(posixpath.dirname(result))  # else a power cut takes the folder with the parts in it
    for part in parts:
        _move(files, part, posixpath.join(result, part.name))
    _write_success(files, posixpath.join(result, SUCCESS), wanted)
    files.fsync_dir(result)


def _set_aside(files: FileSystem, output: str, result: str, replaced: str) -> None:
    """Out of the way goes what another job has left, or has made since a former try.

    Not what another coordinator of this job has just shown: then the result is in its place no more.
    """
    if files.exists(output) and files.exists(result):
        sometimes("an output replaces a former one")
        files.remove_tree(replaced)
        files.rename(output, replaced)


def _show(files: FileSystem, result: str, output: str) -> None:
    """Rename the folder to the output, never onto a folder that is not empty; this decides between two
    jobs."""
    try:
        files.rename(result, output)
    except OSError as error:
        if meaning_of(error) is not Meaning.TAKEN:
            raise
        sometimes("another job was faster with the output")
        raise InvalidArgument(f"output {output} exists: another job was faster") from error


def _move(files: FileSystem, part: StagedPart, target: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # moved before, or missing: the target shows which
        files.rename(part.path, target)
        if files.is_link(target) or not files.is_file(target):  # put there by the job's code: whoever reads
            raise _no_file(part)  # the output would follow the link, or wait at the pipe
        return
    if not files.exists(target) or not part.is_at(target, files):
        sometimes("a part of an output is gone")
        raise CorruptData(
            f"part {part.partition} is not at {part.path}, and {target} does not hold its {part.size} bytes",
            detail={"partition": part.partition},
        )


def _write_success(files: FileSystem, path: str, content: bytes) -> None:
    if files.exists(path):
        sometimes("the manifest of an output is written again")
        files.unlink(path)
    file = files.create(path)
    file.append(content)
    file.sync()
    file.close()


def _no_file(part: StagedPart) -> CorruptData:
    return CorruptData(
        f"part {part.partition} is a link or no regular file, and not what its task wrote",
        detail={"partition": part.partition},
    )


def _checksum(file: ReadFile) -> int:
    crc = at = 0
    while data := file.pread(_READ_BYTES, at):
        crc = google_crc32c.extend(crc, data)
        at += len(data)
    return crc
