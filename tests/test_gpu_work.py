"""What a call costs, on a real GPU: occupancy, launches, compiling, and what is asked of memory.

Needs a CUDA GPU; what can be shown without one is in tests/evaluation.
"""

import contextlib
import dataclasses
import shutil
import subprocess
import sys

import builders as build
import pytest
import torch
from candidates import RIGHT, candidate

from tritonexp import operations
from tritonexp.config import compose
from tritonexp.errors import DisturbedError
from tritonexp.evaluation import Referee, environment, lease, quiet
from tritonexp.evaluation.verification import Subject
from tritonexp.records import Role, Status

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]


def beside_the_baseline(extents=(1024, 1024), protocol=build.FEW_ROUNDS):
    """A referee of softmax that knows nobody else, and counts nothing."""
    operation = operations.load("softmax")
    return Referee(
        operation,
        sizes=[operation.spec.size(extents)],
        protocol=protocol,
        expert="none",
        contenders=(),
        counts_traffic=False,
    )


@pytest.fixture(scope="module")
def judged():
    """The right softmax beside all references, at one size that does not fit into a cache."""
    operation = operations.load("softmax")
    with Referee(
        operation,
        sizes=[operation.spec.size((16_384, 4096))],
        protocol=build.FEW_ROUNDS,
        profile="ncu",
    ) as made:
        found = made.evaluate(candidate(RIGHT))
    assert (found.status, found.candidate.reason) == (Status.CORRECT, "")
    return found


def test_driver_tells_the_occupancy_of_every_kernel(judged):
    """Of one kernel of ours in a call, and of the baseline's five."""
    for trial in judged.trials:
        assert all(0 < kernel.occupancy <= 1 for kernel in trial.compiled)
        assert all(kernel.blocks_per_sm >= 1 for kernel in trial.compiled)
    (kernel,) = judged.candidate.compiled
    assert kernel.launches == 1
    baseline = judged.references[0]
    assert sum(kernel.launches for kernel in baseline.compiled) == 5


def test_driver_agrees_with_the_rules(judged):
    """What the driver says is what the offline compiler would have said of the same figures."""
    from tritonexp.evaluation.occupancy import MAX_BLOCKS_PER_SM, blocks_per_sm

    (kernel,) = judged.candidate.compiled
    if kernel.target not in MAX_BLOCKS_PER_SM:
        pytest.skip(f"no rules for {kernel.target}")
    assert kernel.blocks_per_sm == blocks_per_sm(
        kernel.target, kernel.num_warps, kernel.registers, kernel.shared_bytes
    )


def test_first_call_is_mostly_compiling(judged):
    """The parts are no more than the whole, and torch's baseline compiles nothing of Triton's."""
    own, baseline = judged.candidate, judged.references[0]
    assert 0 < own.compile_s <= own.first_call_s
    assert own.autotune_s == 0
    assert baseline.compile_s == 0


def test_passes_are_counted_beside_the_verification(judged):
    """In the interpreter, on this machine too; the expert's where it can run there."""
    by_name = {trial.implementation.name: trial.traffic for trial in judged.trials}
    assert by_name["candidate"].reason == ""
    assert by_name["candidate"].read_bytes == by_name["candidate"].least_read_bytes
    assert by_name["candidate"].written_bytes == by_name["candidate"].least_written_bytes
    assert by_name["baseline"].torch_read_bytes // by_name["baseline"].least_read_bytes == 5
    assert by_name["house"].reason == ""
    assert by_name["liger"].reason or by_name["liger"].launches == 1


def test_profiler_measures_or_says_why_not(judged):
    """With Nsight Compute and the right to read counters: one read and one write of 256 MiB."""
    if judged.profile.reason:
        assert "ncu" in judged.profile.reason.lower() or "counters" in judged.profile.reason
        pytest.skip(judged.profile.reason)
    assert shutil.which("ncu")
    (found,) = judged.candidate.dram
    assert found.reason == ""
    assert found.read_bytes == pytest.approx(256 << 20, rel=0.1)
    # what is still in the cache at the end is written later
    assert found.written_bytes == pytest.approx(256 << 20, rel=0.4)


def test_workers_find_what_was_compiled_ahead(monkeypatch):
    """A compiler without the GPU makes the very kernels that the worker on it launches."""
    noted = []
    note = Subject.note_first_call

    def spy(subject, seconds, answer, ahead=(0.0, 0.0)):
        if subject.role is Role.CANDIDATE:
            noted.append((answer["compile_s"], ahead[1]))
        note(subject, seconds, answer, ahead)

    monkeypatch.setattr(Subject, "note_first_call", spy)
    with beside_the_baseline() as made:
        found = made.evaluate(candidate(RIGHT))
    assert found.status is Status.CORRECT
    assert len(noted) > 20
    # in the worker, and ahead of it: nothing twice, though some need what others had compiled
    assert [item for item in noted if item[0] > 0] == []
    assert any(item[1] > 0 for item in noted)


COPIES_FIRST = RIGHT.replace(
    "def softmax(x):\n", "def softmax(x):\n    x = x.to(torch.float64).to(x.dtype)\n"
)


def test_share_of_what_is_not_its_own_is_told_by_the_profiler():
    """A graph tells whose its nodes are; where some are torch's, their time is measured."""
    assert COPIES_FIRST != RIGHT
    with beside_the_baseline() as made:
        found = made.evaluate(candidate(COPIES_FIRST))
    # converting twice takes about as long as the softmax
    assert found.status is Status.NOT_TRITON
    assert "%" in found.candidate.reason
    shares = {kernel.own: kernel.share for kernel in found.candidate.kernels}
    assert 0.1 < shares[True] < 0.9
    assert 0.1 < shares[False] < 0.9


def test_memory_that_workers_were_given_comes_back():
    """Torch keeps what was shared until it hears from who has it; killed workers say nothing."""

    def free_bytes():
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info()[0]

    lost_bytes = []
    for _ in range(3):
        before = free_bytes()
        with beside_the_baseline((4096, 4096)) as made:
            assert made.evaluate(candidate(RIGHT)).status is Status.CORRECT
        lost_bytes.append(before - free_bytes())
    # the first opens what stays open, such as contexts of workers that are forked ahead
    assert max(lost_bytes[1:]) < 64 << 20


def test_next_candidate_is_compiled_while_one_is_timed():
    """It has the cases and the workers that were made for it then, and finds its kernels there."""
    first, second = candidate(RIGHT), candidate(RIGHT + "# another\n")
    with beside_the_baseline() as made:
        assert made.evaluate(first, lambda: second).status is Status.CORRECT
        begun = made._crews._next
        assert begun.candidate == second
        # its compilers were asked for everything, and its workers for nothing
        dealt = [task.group for desk in begun.ahead.busy for task in desk.tasks]
        assert not begun.ahead._waiting
        assert len([group for group in dealt if group]) >= len(begun.roster.groups)
        assert all(worker.idle and not worker.started for worker in begun.crew.workers)
        # whoever takes the cases of a group takes them out of it
        drawn = {*begun.roster.left, *(case for group in begun.roster.groups for case in group)}
        found = made.evaluate(second, lambda: None)
        assert made._crews._next is None
        assert found.status is Status.CORRECT
        assert {item.case for item in found.candidate.cases} == drawn


# milliseconds at a time of the GPU are then another's
KEEPS_THE_GPU_BUSY = """\
import torch
a = torch.randn(8192, 8192, device="cuda", dtype=torch.half)
print("busy", flush=True)
while True:
    for _ in range(8):
        torch.matmul(a, a)
    torch.cuda.synchronize()
"""


@contextlib.contextmanager
def others_at_work():
    """A process that knows nothing of our lease, and always has something for the GPU to do."""
    command = [sys.executable, "-c", KEEPS_THE_GPU_BUSY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "busy\n"
            yield
        finally:
            process.kill()


def test_work_of_others_is_told_from_a_quiet_gpu():
    """Copies of the referee's own take longer over some milliseconds, and only then."""
    probe = quiet.Probe()
    with lease.leased(environment.find_gpu().uuid):
        assert probe.slowdown() < quiet.MAX_SLOWDOWN
        with others_at_work():
            assert probe.slowdown() > quiet.MAX_SLOWDOWN
            with pytest.raises(DisturbedError, match="Another program is using the GPU"):
                probe.check_quiet()


def test_nothing_is_said_of_a_kernel_beside_others_work():
    """Its rounds may fit between the turns of another program where the baseline's do not.

    What the referee copies comes late then, and so do answers: neither is the candidate's.
    """
    # as short as a study's rounds
    protocol = dataclasses.replace(build.FEW_ROUNDS, window_us=compose([]).timing.window_us)
    with (
        others_at_work(),
        beside_the_baseline(protocol=protocol) as made,
        pytest.raises(DisturbedError, match="Another program is using the GPU"),
    ):
        made.evaluate(candidate(RIGHT))
