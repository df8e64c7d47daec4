"""What runs of jobs have to meet now and then: marks in the code of coordinators, workers and outputs
(cluster/sometimes.py)."""

from __future__ import annotations

from typing import Final

__all__ = ["JOB_MARKS"]

JOB_MARKS: Final = (
    # The job machine and the output
    "a job is killed",
    "a job is paused",
    "a paused job goes on",
    "a reduce runs again as it read another output",
    "a map that all had read is lost",
    "a task is tried again",
    "a task fails its job",
    "a finished map runs again",
    "an attempt is lost with its node",
    "a slow task gets a backup attempt",
    "an output replaces a former one",
    "an output that is shown is committed again",
    "another job was faster with the output",
    "a former coordinator has shown the output meanwhile",
    "a part of an output is gone",
    "a job has lost the folder of its parts",
    "the manifest of an output is written again",
    "a chain goes on with its next stage",
    "a function asks for another round",
    "a function ends the rounds",
    # Coordinators
    "a commit is repeated",
    "a worker does not take an assignment",
    "a stray had the name of an attempt",
    "a worker has forgotten an attempt",
    "a stray attempt is stopped",
    "a silent worker is given up",
    "a job is taken over",
    "a job has another coordinator",
    "a former coordinator finds the journal sealed",
    "a former coordinator wrote while its journal was sealed",
    "a coordinator finds that another one has the jobs",
    "registers of a journal that is forgotten are removed",
    "a job's journal begins anew with a snapshot",
    "a worker has an order ahead",
    "an order travels with the answer to a report",
    # Workers
    "an assignment comes twice",
    "an attempt is given back for want of memory",
    "the newest attempt ends for want of memory",
    "short maps run in a stint",
    "a process leaves the rest of a stint",
    "a stint is broken off",
    "the first attempts of a stint are told early",
    "a report finds no such job",
    "a worker refuses an order of a former coordinator",
    "a worker drops the job of a silent coordinator",
)
