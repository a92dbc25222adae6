"""The evaluation on a real GPU: house kernels are right and timed, and cheats and crashes are told.

Needs a CUDA GPU; what can be shown without one is in tests/evaluation.
"""

import dataclasses

import builders as build
import pytest
import torch
from candidates import KERNEL, RIGHT, body, candidate

from tritonexp import operations
from tritonexp.errors import DoesNotFitError
from tritonexp.evaluation import Referee
from tritonexp.records import Clock, Mode, Outcome, Role, Status

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]

SMOKE = (1024, 1024)

# the right result by torch, and a kernel of the file that is launched beside it
DECOY = """\
fused(x[:1], torch.empty_like(x[:1]))
return torch.softmax(x, dim=1)
"""

SLOPPY_IN_A_GRAPH = (
    KERNEL
    + KERNEL[KERNEL.index("@triton.jit") : KERNEL.index("def fused")]
    .replace("softmax_kernel", "sloppy_kernel")
    .replace(" - tl.max(x, axis=0)", "")
    + """\
def softmax(x):
    if not torch.cuda.is_current_stream_capturing():
        return fused(x, torch.empty_like(x))
    output = torch.empty_like(x)
    block_size = triton.next_power_of_2(x.shape[1])
    sloppy_kernel[(x.shape[0],)](x, output, x.shape[1], 1.0, BLOCK_SIZE=block_size, num_warps=8)
    return output
"""
)

# honest where it is called eagerly, and in the last pass over the sets that a graph holds
LESS_BEFORE_THE_LAST_PASS = (
    KERNEL
    + """\
made = 0


def is_last():
    global made
    frame = sys._getframe()
    while not {"passes", "sets"} <= frame.f_locals.keys():
        frame = frame.f_back
    passes, sets = frame.f_locals["passes"], frame.f_locals["sets"]
    made = made + 1 if passes > 1 else 0
    return passes == 1 or made > (passes - 1) * len(sets)


def softmax(x):
    output = torch.empty_like(x)
    if not torch.cuda.is_current_stream_capturing() or is_last():
        return fused(x, output)
    fused(x[: x.shape[0] // 10], output)
    return output
"""
)

# launched on a stream that the caller does not wait for
SIDE_STREAM = """\
output = torch.empty_like(x)
with torch.cuda.stream(SIDE):
    fused(x, output)
return output
"""

# right where it is called for the first time with a buffer; later calls find the old result
CACHED = """\
key = (x.data_ptr(), tuple(x.shape), x.dtype)
if key not in CACHE:
    CACHE[key] = fused(x, torch.empty_like(x))
return CACHE[key]
"""

# the same, but it copies the old result, so that a kernel of its own is launched each time
CACHED_COPY = """\
key = (x.data_ptr(), tuple(x.shape), x.dtype)
if key not in CACHE:
    CACHE[key] = fused(x, torch.empty_like(x))
old = CACHE[key]
output = torch.empty_like(x)
copy_kernel[(triton.cdiv(x.numel(), 1024),)](old, output, x.numel(), BLOCK_SIZE=1024)
return output
"""

COPY_KERNEL = """\
@triton.jit
def copy_kernel(x_ptr, output_ptr, n_elements, BLOCK_SIZE: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    inside = offsets < n_elements
    tl.store(output_ptr + offsets, tl.load(x_ptr + offsets, mask=inside), mask=inside)


"""

# far beyond any allocation: an illegal access, which ends the CUDA context
FAULT_KERNEL = """\
@triton.jit
def fault_kernel(x_ptr):
    tl.store(x_ptr + (tl.program_id(0).to(tl.int64) + 1) * (1 << 44), 1.0)


"""

# the store keeps the compiler from dropping the loop, which ends when the value becomes 2
ENDLESS_KERNEL = """\
@triton.jit
def endless_kernel(flag_ptr):
    while tl.atomic_add(flag_ptr, 0) < 2:
        tl.atomic_max(flag_ptr, 1)


"""

# a wait for the GPU, which no graph can capture and which is no work of the GPU's
SYNCHRONISES = """\
output = fused(x, torch.empty_like(x))
torch.cuda.current_stream().synchronize()
return output
"""


def with_prelude(prelude, text):
    """A candidate whose file has more at its top level than the right kernel."""
    return body(text).replace("def softmax(x):", f"{prelude}\ndef softmax(x):")


@pytest.fixture(scope="module")
def judge():
    """One referee for softmax at the smoke size, beside the baseline alone."""
    operation = operations.load("softmax")
    with Referee(
        operation,
        sizes=[operation.spec.size(SMOKE)],
        protocol=build.FEW_ROUNDS,
        expert="none",
        contenders=(),
        timeout_s=20,
    ) as made:
        yield made


@pytest.fixture
def verdict(judge):
    """The trial of a source, after which a right kernel is still judged rightly."""

    def tried(source):
        found = judge.evaluate(candidate(source)).candidate
        after = judge.evaluate(candidate(RIGHT)).candidate
        assert (after.status, after.reason) == (Status.CORRECT, "")
        return found

    return tried


@pytest.mark.parametrize("name", operations.names())
def test_house_kernel_is_correct_and_timed(name):
    """Every operation's own kernel passes as a candidate, with times that the hardware allows."""
    operation = operations.load(name)
    size = operation.spec.size(SMOKE)
    house = next(item for item in operation.contenders if item.name == "house")
    source = dataclasses.replace(house, name="candidate", role=Role.CANDIDATE)
    with Referee(
        operation, sizes=[size], protocol=build.FEW_ROUNDS, expert="none", contenders=()
    ) as judge:
        found = judge.evaluate(source)
    trial = found.candidate
    assert (trial.status, trial.reason) == (Status.CORRECT, "")
    assert found.mode is Mode.GPU
    assert found.protocol == build.FEW_ROUNDS
    assert found.environment.gpu.uuid
    assert found.ceilings.copy_gb_s > 0
    (timing,) = trial.timings
    assert timing.clock is Clock.GRAPH
    assert len(timing.rounds_us) >= build.FEW_ROUNDS.rounds
    assert timing.interval_us.low <= timing.median_us <= timing.interval_us.high
    assert timing.host_us > 0
    assert timing.referee_us == pytest.approx(timing.median_us, rel=0.25)
    assert 0 < timing.fraction_of_ceiling < 1.06
    assert sum(kernel.launches for kernel in trial.kernels if kernel.own) >= 1
    assert trial.compiled
    assert all(kernel.registers > 0 for kernel in trial.compiled)
    (baseline,) = found.references
    assert baseline.status is Status.CORRECT
    assert baseline.timings


def test_kernel_against_itself_is_a_tie():
    """The same file as candidate and as contender differs by less than the margin."""
    operation = operations.load("softmax")
    size = operation.spec.size((2048, 2048))
    house = next(item for item in operation.contenders if item.name == "house")
    source = dataclasses.replace(house, name="candidate", role=Role.CANDIDATE)
    with Referee(
        operation, sizes=[size], protocol=build.FEW_ROUNDS, expert="none", contenders=("house",)
    ) as judge:
        found = judge.evaluate(source)
    assert found.candidate.status is Status.CORRECT
    against = [item for item in found.comparisons if item.reference == "house"]
    assert against
    assert {item.outcome for item in against} == {Outcome.TIE}


def test_size_beyond_the_memory_is_refused_before_anything_runs():
    """The bytes that are needed and those that are free are told; nothing was allocated."""
    operation = operations.load("softmax")
    size = operation.spec.size((1_048_576, 65_536))
    with Referee(
        operation, sizes=[size], protocol=build.FEW_ROUNDS, expert="none", contenders=()
    ) as judge:
        with pytest.raises(DoesNotFitError, match=r"needs about [\d,]{15,} bytes .* bytes free"):
            judge.check_fits()
        assert judge._crews._arenas == []


def test_less_work_where_it_is_captured_is_found_out(verdict):
    """A variant without the maximum, launched in a capture only, is right on ordinary values."""
    trial = verdict(SLOPPY_IN_A_GRAPH)
    assert trial.status is Status.STALE_RESULT
    assert trial.timings == ()


def test_less_work_in_all_passes_but_the_last_is_found_out():
    """Of a graph with several passes, which only short calls need, any pass may be looked at."""
    operation = operations.load("softmax")
    with Referee(
        operation,
        sizes=[operation.spec.size((128, 128))],
        protocol=build.FEW_ROUNDS,
        expert="none",
        contenders=(),
    ) as judge:
        less = judge.evaluate(candidate(LESS_BEFORE_THE_LAST_PASS)).candidate
        honest = judge.evaluate(candidate(RIGHT)).candidate
    # were there one pass it would be honest
    assert less.status is Status.STALE_RESULT
    assert (honest.status, honest.reason) == (Status.CORRECT, "")


def test_library_call_is_not_triton(verdict):
    """torch.softmax is right and is no Triton kernel."""
    trial = verdict(body("return torch.softmax(x, dim=1)"))
    assert trial.status is Status.NOT_TRITON
    assert trial.timings == ()


def test_decoy_beside_a_library_call_is_not_triton(verdict):
    """A launched kernel that does a tiny part of the work is not the kernel that did it."""
    trial = verdict(body(DECOY))
    assert trial.status is Status.NOT_TRITON
    assert trial.timings == ()


def test_decoy_under_the_name_of_the_real_kernel_is_not_triton(verdict):
    """A Triton kernel named as torch's own is, in its library, earns it nothing."""
    x = torch.randn(*SMOKE, device="cuda")
    graph = torch.cuda.CUDAGraph(keep_graph=True)
    torch.softmax(x, dim=1)
    with torch.cuda.graph(graph):
        torch.softmax(x, dim=1)
    name = _only_kernel_of(graph)
    decoy = COPY_KERNEL.replace("copy_kernel", name)
    trial = verdict(with_prelude(decoy, DECOY))
    assert trial.status is Status.NOT_TRITON


def test_side_stream_gains_nothing(verdict):
    """Work on a stream of its own is either waited for or found out, never timed as nothing."""
    trial = verdict(with_prelude("SIDE = torch.cuda.Stream()\n\n", SIDE_STREAM))
    if trial.status is Status.CORRECT:
        assert all(item.fraction_of_ceiling < 1.06 for item in trial.timings)
    else:
        assert trial.timings == () or trial.status is Status.IMPLAUSIBLE


def test_illegal_access_is_a_crash(verdict):
    """A store far out of bounds ends its own worker's context and nobody else's."""
    trial = verdict(
        with_prelude(FAULT_KERNEL, "fault_kernel[(1,)](x)\nreturn fused(x, torch.empty_like(x))")
    )
    assert trial.status is Status.CRASHED
    assert "illegal memory access" in trial.reason
    assert trial.timings == ()


def test_endless_kernel_is_a_timeout(judge, verdict, monkeypatch):
    """A loop on the GPU is killed with its process, and the GPU is free for the next."""
    monkeypatch.setattr(judge, "timeout_s", 5.0)
    text = (
        "flag = torch.zeros(1, dtype=torch.int32, device=x.device)\n"
        "endless_kernel[(1,)](flag)\n"
        "return fused(x, torch.empty_like(x))"
    )
    trial = verdict(with_prelude(ENDLESS_KERNEL, text))
    assert trial.status is Status.TIMEOUT
    assert trial.timings == ()


@pytest.mark.parametrize("text", [CACHED, CACHED_COPY], ids=["returns", "copies"])
def test_result_cached_by_address_is_not_correct(verdict, text):
    """An old result under an old address is a wrong one, since the values there are new."""
    trial = verdict(with_prelude(f"{COPY_KERNEL}CACHE = {{}}\n\n", text))
    assert trial.status in (
        Status.INCORRECT,
        Status.STALE_RESULT,
        Status.NOT_TRITON,
        Status.NONDETERMINISTIC,
        Status.WRONG_FORM,
    )
    assert trial.timings == ()


def test_what_cannot_be_captured_is_timed_by_events(verdict):
    """A call that waits for the GPU is still timed, and its times are marked."""
    trial = verdict(body(SYNCHRONISES))
    assert (trial.status, trial.reason) == (Status.CORRECT, "")
    assert {item.clock for item in trial.timings} == {Clock.EVENTS}


def test_less_precision_inside_is_incorrect(verdict):
    """An fp32 operation in fp16 is faster, and wrong."""
    trial = verdict(body("half = x.half()\nreturn fused(half, torch.empty_like(half)).to(x.dtype)"))
    assert trial.status is Status.INCORRECT


def test_kernel_that_does_not_compile_is_a_compile_error(verdict):
    """What only a GPU's compiler refuses has a status of its own."""
    trial = verdict(
        KERNEL.replace("tl.max(x, axis=0)", "tl.maxx(x, axis=0)") + RIGHT[len(KERNEL) :]
    )
    assert trial.status is Status.COMPILE_ERROR
    assert trial.log


def _only_kernel_of(graph):
    """The driver's name of the only kernel in a captured graph."""
    from cuda.bindings import driver

    handle = driver.CUgraph(graph.raw_cuda_graph())
    _, _, count = driver.cuGraphGetNodes(handle)
    _, nodes, _ = driver.cuGraphGetNodes(handle, count)
    (node,) = nodes[:count]
    _, launch = driver.cuGraphKernelNodeGetParams(node)
    return driver.cuFuncGetName(launch.func)[1].decode()
