"""`ringmill job …`: the table of verbs on jobs."""

from __future__ import annotations

from ringmill.client.cli.lazy import LazyGroup, Verb

__all__ = ["job"]

job = LazyGroup(
    "job",
    {
        "run": Verb("ringmill.client.cli.jobs.job_run:run", "hand over a job and follow it to its end"),
        "follow": Verb("ringmill.client.cli.jobs.job_follow:follow", "wait for the end of a job"),
        "wait": Verb("ringmill.client.cli.jobs.job_follow:follow", "another name of follow"),
        "list": Verb("ringmill.client.cli.jobs.job_read:list_jobs", "jobs that the nodes know, newest first"),
        "status": Verb("ringmill.client.cli.jobs.job_read:status", "one job, with its tasks"),
        "logs": Verb("ringmill.client.cli.jobs.job_read:logs", "what the attempts of a job printed"),
        "output": Verb(
            "ringmill.client.cli.jobs.job_output:job_output", "its part files, or what is in them"
        ),
        "kill": Verb("ringmill.client.cli.jobs.job_read:kill", "stop a job"),
    },
    "Run MapReduce jobs on the nodes of a cluster.",
)
