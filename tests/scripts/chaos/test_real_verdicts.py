"""What a run on real processes is judged by beside its answers: tracebacks, receipts, and no answer."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import AsyncMock, Mock, patch

import pytest

from chaos import run_real
from chaos.mixed_story import MixedOptions, MixedResult
from chaos.real_nodes import traceback_violations
from chaos.run_real import ChaosOptions, ChaosResult, run_chaos
from ringmill.simulator.history import Operation
from ringmill.simulator.subjects.objects.checkers.every import check_real
from tests.simulator.checkers.test_checkers import END, ONE


def receipts_told(result: ChaosResult | MixedResult, put: Operation) -> list[str]:
    result.history.operations, result.history.finals = [put], END
    return [found.story for found in check_real(result.history) if "receipt" in found.story]


@pytest.mark.parametrize("result", [ChaosResult(ChaosOptions()), MixedResult(MixedOptions())])
def test_a_receipt_that_counts_to_less_than_the_keyspace_is_reported(
    result: ChaosResult | MixedResult,
) -> None:
    one = replace(ONE, level="", w=1)
    assert ["less than the keyspace's 2" in story for story in receipts_told(result, one)] == [True]


def test_a_traceback_is_a_violation() -> None:
    assert traceback_violations(0) == []
    assert [found.story for found in traceback_violations(3)] == ["3 tracebacks in the logs of the nodes"]


async def test_a_run_in_which_nothing_was_answered_has_not_held() -> None:
    nodes = Mock(ports={}, pids={}, crashed={}, tracebacks=lambda: 1)
    with patch.object(run_real, "RealNodes", lambda *_: nodes), patch.object(run_real, "_drive", AsyncMock()):
        result = await run_chaos(ChaosOptions(), "/nowhere")
    assert [found.property for found in result.violations] == ["bug", "run"]
