"""`ringmill job …`: the table of verbs on jobs."""

from __future__ import annotations

from ringmill.client.cli.lazy import NO_CLUSTER, LazyGroup, Verb

__all__ = ["job"]

job = LazyGroup(
    "job",
    {
        "run": Verb("ringmill.client.cli.jobs.job_run:run", "submit a job and wait for its end"),
        "local": Verb(
            "ringmill.client.cli.jobs.job_local:local",
            "run a job on this machine, without a cluster",
            NO_CLUSTER,
        ),
        "check": Verb(
            "ringmill.client.cli.jobs.trying.job_check:check",
            "try on a sample whether a job may be split, combined and retried",
            NO_CLUSTER,
        ),
        "estimate": Verb(
            "ringmill.client.cli.jobs.job_estimate:estimate", "tell how long a job will take, from a sample"
        ),
        "replay": Verb(
            "ringmill.client.cli.jobs.trying.job_replay:replay",
            "run one map task of a job again, on this machine",
        ),
        "follow": Verb("ringmill.client.cli.jobs.job_follow:follow", "wait for the end of a job"),
        "wait": Verb("ringmill.client.cli.jobs.job_follow:follow", "another name for follow"),
        "list": Verb(
            "ringmill.client.cli.jobs.job_read:list_jobs", "list the jobs of all nodes, newest first"
        ),
        "history": Verb(
            "ringmill.client.cli.jobs.job_read:history", "list the jobs that are over, with what they did"
        ),
        "status": Verb("ringmill.client.cli.jobs.job_read:status", "show one job and its tasks"),
        "explain": Verb(
            "ringmill.client.cli.jobs.explain.job_explain:explain", "show where the time of a job went"
        ),
        "counters": Verb(
            "ringmill.client.cli.jobs.explain.job_explain:counters", "show the counters of a job"
        ),
        "logs": Verb("ringmill.client.cli.jobs.job_read:logs", "show what the attempts of a job printed"),
        "output": Verb(
            "ringmill.client.cli.jobs.job_output:job_output", "list or print the part files of a job"
        ),
        "kill": Verb("ringmill.client.cli.jobs.job_control:kill", "stop a job"),
        "pause": Verb("ringmill.client.cli.jobs.job_control:pause", "let a job begin nothing more for now"),
        "resume": Verb("ringmill.client.cli.jobs.job_control:resume", "let a paused job go on"),
        "purge": Verb(
            "ringmill.client.cli.jobs.job_control:purge", "remove a job that is over from the history"
        ),
    },
    "Run MapReduce jobs on the nodes of a cluster.",
)
