"""What a user sees of a job, made from the cluster's message."""

from ringmill.client.jobs.job_values import job_state
from ringmill.cluster.wire.stubs import jobs_pb2


def test_records_are_reported_in_the_order_in_which_they_flow() -> None:
    records = {"reduce_out": 1, "skipped": 2, "map_in": 3, "reduce_in": 4, "map_out": 5}
    state = job_state(jobs_pb2.JobStatus(job="j", records=records))
    assert list(state.records) == ["map_in", "map_out", "reduce_in", "reduce_out", "skipped"]
