"""A verdict comes with what the kernel asks of memory and what it would occupy, without a GPU.

Needs no GPU; where there is one, the referee would use it, and tests/test_gpu_work.py covers that.
"""

import dataclasses

import builders as build
import pytest
import torch
from candidates import RIGHT, body, candidate
from processes import children_of

from tritonexp import operations
from tritonexp.evaluation import Referee
from tritonexp.records import Evaluation, Status, from_json, to_json

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU would be used instead")


@pytest.fixture(scope="module")
def judge():
    """Softmax at few sizes, with a profiler that has nothing to measure."""
    operation = operations.load("softmax")
    spec = dataclasses.replace(
        operation.spec,
        interpreter=((3, 257), (7, 1000)),
        irregular=((1, 1),),
        distributions=("normal",),
        dtypes=("float32",),
    )
    operation = dataclasses.replace(operation, spec=spec)
    with Referee(
        operation, sizes=[spec.size((1024, 1024))], protocol=build.FEW_ROUNDS, profile="ncu"
    ) as made:
        yield made


@pytest.fixture(scope="module")
def judged(judge):
    """What was found of the right kernel."""
    return judge.evaluate(candidate(RIGHT))


def test_candidate_and_baseline_are_counted(judge, judged):
    """One pass against five reads and three writes, and no worker is left of it."""
    own, (baseline,) = judged.candidate, judged.references
    assert (own.traffic.size.label, own.traffic.launches) == ("7x1000", 1)
    assert (own.traffic.read_bytes, own.traffic.written_bytes) == (28_000, 28_000)
    assert baseline.traffic.launches == 0
    assert baseline.traffic.torch_read_bytes // 28_000 == 5
    assert baseline.traffic.torch_written_bytes // 28_000 == 3
    assert children_of(judge._crews.servers()[0]._process.pid) == []


def test_occupancy_comes_with_the_offline_compilation(judged):
    """Registers and shared memory tell how many blocks a multiprocessor of sm_90 holds."""
    (kernel,) = judged.candidate.compiled
    assert kernel.blocks_per_sm == 8
    assert kernel.occupancy == 1.0
    # it was compiled for a call, and no call was made
    assert kernel.launches is None


def test_interpreter_compiles_nothing(judged):
    """A call that compiles nothing has no seconds of compiling, and not 0 either."""
    assert judged.candidate.first_call_s > 0
    assert (judged.candidate.compile_s, judged.candidate.autotune_s) == (None, None)


def test_profiler_without_a_gpu_has_a_reason(judged):
    """It is kept in the record, which can be written and read."""
    assert (judged.profile.tool, judged.profile.reason) == ("ncu", "there is no GPU here")
    assert judged.candidate.dram == ()
    assert from_json(Evaluation, to_json(judged)) == judged


def test_wrong_candidate_is_not_counted(judge):
    """What a wrong kernel asks for is no answer to anything."""
    found = judge.evaluate(candidate(body("return torch.zeros_like(fused(x, x.clone()))")))
    assert found.status is Status.INCORRECT
    assert found.candidate.traffic is None
