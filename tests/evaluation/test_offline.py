import textwrap
import time

import pytest

from tritonexp.errors import ConfigError
from tritonexp.evaluation import offline
from tritonexp.operations import ScalarArgument, Spec, TensorArgument
from tritonexp.records import Implementation, Provenance, Role, Status

# one block per row; every host function below launches this kernel
KERNEL = """
import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_row_stride, n_rows, n_cols, BLOCK_SIZE: tl.constexpr):
    for row in range(tl.program_id(0), n_rows, tl.num_programs(0)):
        cols = tl.arange(0, BLOCK_SIZE)
        mask = cols < n_cols
        x = tl.load(x_ptr + row * x_row_stride + cols, mask=mask, other=float("-inf"))
        x = tl.exp(x - tl.max(x, axis=0))
        tl.store(out_ptr + row * x_row_stride + cols, x / tl.sum(x, axis=0), mask=mask)
"""

PLAIN = """
def softmax(x):
    out = torch.empty_like(x)
    n_rows, n_cols = x.shape
    softmax_kernel[lambda meta: (n_rows,)](
        x, out, x.stride(0), n_rows, n_cols,
        BLOCK_SIZE=triton.next_power_of_2(n_cols), num_warps=8,
    )
    return out
"""

ON_THE_GPU = """
def softmax(x):
    assert x.is_cuda and torch.cuda.is_available()
    if x.device != torch.device("cuda", 0) or x.device.type != "cuda":
        raise ValueError(x.device)
    x = x.contiguous().cuda()
    first, rest = x[0], x[:, 1:]
    assert x.data_ptr() % 512 == 0 and first.data_ptr() == x.data_ptr()
    assert rest.data_ptr() - x.data_ptr() == x.element_size()
    assert rest.t().contiguous().to("cuda").device == x.device
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    assert out.data_ptr() != x.data_ptr()
    n_rows, n_cols = x.shape
    with torch.cuda.device(x.device):
        softmax_kernel[(n_rows,)](
            x, out, x.stride(0), n_rows, n_cols, triton.next_power_of_2(n_cols)
        )
    torch.cuda.synchronize()
    return out
"""

AUTOTUNED = """
softmax_kernel = triton.heuristics(
    {"BLOCK_SIZE": lambda args: triton.next_power_of_2(args["n_cols"])}
)(softmax_kernel)
softmax_kernel = triton.autotune(
    configs=[triton.Config({}, num_warps=warps) for warps in (2, 4, 8)], key=["n_cols"]
)(softmax_kernel)


def softmax(x):
    out = torch.empty_like(x)
    n_rows, n_cols = x.shape
    softmax_kernel[(n_rows,)](x, out, x.stride(0), n_rows, n_cols)
    return out
"""

PERSISTENT = """
DEVICE = triton.runtime.driver.active.get_active_torch_device()
facts = triton.runtime.driver.active.utils.get_device_properties(DEVICE.index)
sm_count = torch.cuda.get_device_properties(DEVICE).multi_processor_count


def softmax(x):
    out = torch.empty_like(x)
    n_rows, n_cols = x.shape
    arguments = (x, out, x.stride(0), n_rows, n_cols)
    block = triton.next_power_of_2(n_cols)
    kernel = softmax_kernel.warmup(*arguments, BLOCK_SIZE=block, num_warps=8, grid=(1,))
    kernel._init_handles()
    # as the official tutorial finds the occupancy
    blocks_per_sm = facts["max_num_regs"] // (kernel.n_regs * facts["warpSize"] * 8)
    num_programs = min(sm_count * blocks_per_sm, n_rows)
    kernel[(num_programs, 1, 1)](*arguments, block)
    return out
"""

TOO_LARGE = """
@triton.jit
def square_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    rows, cols = tl.arange(0, BLOCK), tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK, BLOCK), dtype=tl.float32)
    for start in range(0, n, BLOCK):
        left = tl.load(x_ptr + rows[:, None] * n + start + cols[None, :])
        right = tl.load(x_ptr + (start + rows[:, None]) * n + cols[None, :])
        total = tl.dot(left, right, total)
    tl.store(out_ptr + rows[:, None] * n + cols[None, :], total)


def softmax(x):
    half = x.half()
    out = torch.empty(x.shape, device="cuda")
    square_kernel[(7, 3)](half, out, x.shape[1], BLOCK=128, num_warps=8, num_stages=6)
    return out
"""

BROKEN_KERNEL = """
@triton.jit
def broken_kernel(x_ptr, N: tl.constexpr):
    tl.store(x_ptr + tl.arange(0, N), 0.0)


def softmax(x):
    broken_kernel[(1,)](x, N=1000)
    return x
"""

SPEC = Spec(
    title="Row-wise softmax",
    pattern="fusion",
    axes=("rows", "cols"),
    arguments=(TensorArgument(name="x", shape=("rows", "cols")),),
    outputs=(("rows", "cols"),),
    dtypes=("float32", "float16"),
    timed_dtype="float32",
    distributions=("normal",),
    from_ladder=lambda rows, cols: (rows, cols),
    irregular=((3, 257),),
    interpreter=((3, 257),),
    shapes="Any.",
    precision="float32",
    max_extents={"rows": 1 << 20, "cols": 1 << 16},
)
# 4 GiB each: no memory may be taken for them
LARGE = SPEC.size((32_768, 32_768))
SMALL = SPEC.size((1823, 781))


@pytest.fixture
def compile_here(tmp_path, monkeypatch):
    """Compile a trusted source in this process, as the child does."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))

    def run(host, *sizes, target="sm_90", dtype="float32", spec=SPEC, kernel=KERNEL):
        path = tmp_path / f"{tmp_path.name}_candidate.py"
        path.write_text(kernel + host)
        calls = [offline.call_of(spec, size, dtype) for size in sizes or (SMALL,)]
        return offline.compile_offline(path, "softmax", calls, target)

    return run


def in_child(source, *, timeout_s=60.0, sizes=(SMALL,), hidden=()):
    """Compile an untrusted source the way the referee does."""
    implementation = Implementation(
        name="candidate",
        role=Role.CANDIDATE,
        source=textwrap.dedent(source),
        entry_point="softmax",
        provenance=Provenance(origin="file", name="x", version=None, licence=None, location=None),
    )
    return offline.compile_for(implementation, SPEC, sizes, "float32", "sm_90", timeout_s, hidden)


def test_plain_kernel_is_compiled_at_every_size(compile_here):
    """Each size has its own entry with grid, registers and shared memory, at no cost in memory."""
    answer = compile_here(PLAIN, SMALL, LARGE)
    assert answer.error is None
    small, large = answer.kernels
    assert (small.size, small.grid, small.num_warps) == (SMALL, (1823, 1, 1), 8)
    assert (large.size, large.grid) == (LARGE, (32_768, 1, 1))
    assert {kernel.name for kernel in answer.kernels} == {"softmax_kernel"}
    assert small.fits is True
    assert 16 <= small.registers < large.registers <= 255
    assert small.shared_bytes > 0
    assert small.spill_bytes == 0


def test_registers_that_run_out_are_reported_as_spills(compile_here):
    """A row of 16,384 values in one warp cannot be held in registers, and the figures say so."""
    host = PLAIN.replace("num_warps=8", "num_warps=1")
    (kernel,) = compile_here(host, SPEC.size((4, 16_384))).kernels
    assert kernel.spill_bytes > 1000


def test_host_code_sees_tensors_of_a_gpu(compile_here):
    """Assertions on devices, addresses, views and copies hold as they would on a GPU."""
    answer = compile_here(ON_THE_GPU)
    assert answer.error is None
    assert [kernel.fits for kernel in answer.kernels] == [True]


def test_every_autotune_configuration_is_compiled(compile_here):
    """An autotuner over a heuristic leaves one entry for each of its configurations."""
    answer = compile_here(AUTOTUNED)
    assert answer.error is None
    assert [kernel.num_warps for kernel in answer.kernels] == [2, 4, 8]


def test_autotuner_passes_over_a_configuration_that_does_not_fit(compile_here):
    """A configuration with too much shared memory is recorded, and the others still run."""
    tuned = TOO_LARGE.replace(
        "@triton.jit\ndef square_kernel",
        "@triton.autotune([triton.Config({}, num_warps=8, num_stages=n) for n in (6, 2)], ['n'])\n"
        "@triton.jit\ndef square_kernel",
    ).replace(
        ", num_warps=8, num_stages=6)",
        ")\n    assert square_kernel.best_config.num_stages == 2",
    )
    answer = compile_here(tuned, SPEC.size((1024, 1024)))
    assert answer.error is None
    assert [(kernel.num_stages, kernel.fits) for kernel in answer.kernels] == [
        (6, False),
        (2, True),
    ]


@pytest.mark.parametrize(("target", "sm_count"), [("sm_80", 108), ("sm_90", 132), ("sm_100", 148)])
def test_persistent_grid_follows_the_target(compile_here, target, sm_count):
    """The occupancy of the compiled kernel and the target's SM count make the grid."""
    (kernel,) = compile_here(PERSISTENT, SPEC.size((65_536, 1024)), target=target).kernels
    assert kernel.target == target
    blocks_per_sm = 65_536 // (kernel.registers * 32 * 8)
    assert kernel.grid == (sm_count * blocks_per_sm, 1, 1)


def test_kernel_beyond_shared_memory_does_not_fit(compile_here):
    """The entry holds what it needs and what there is, and is no failure of the file."""
    answer = compile_here(TOO_LARGE, SPEC.size((1024, 1024)))
    assert answer.error is None
    (kernel,) = answer.kernels
    assert (kernel.grid, kernel.fits) == ((7, 3, 1), False)
    assert kernel.shared_bytes > 232_448
    assert str(kernel.shared_bytes) in kernel.reason
    assert "232448" in kernel.reason


def test_grid_beyond_the_limit_does_not_fit(compile_here):
    """The second axis of a grid ends at 65,535 blocks."""
    (kernel,) = compile_here(PLAIN.replace("(n_rows,)", "(1, 65_536)")).kernels
    assert kernel.fits is False
    assert "65536 blocks along the grid's y" in kernel.reason


def test_compile_error_is_data(compile_here):
    """A kernel that Triton refuses has an entry at each size, and the error says where and why."""
    answer = compile_here(BROKEN_KERNEL, SMALL, LARGE)
    assert [kernel.size for kernel in answer.kernels] == [SMALL, LARGE]
    assert answer.kernels[0].name == "broken_kernel"
    assert answer.kernels[0].fits is None
    assert answer.error.status is Status.COMPILE_ERROR
    assert "1823x781" in answer.error.reason
    for reason in (answer.kernels[0].reason, answer.error.reason):
        assert "power of 2" in reason
        assert "tl.arange(0, N)" in reason


def test_fallback_does_not_hide_a_compile_error(compile_here):
    """A kernel whose failure the host code swallows is still reported."""
    host = BROKEN_KERNEL.replace(
        "    broken_kernel[(1,)](x, N=1000)\n",
        "    try:\n        broken_kernel[(1,)](x, N=1000)\n    except Exception:\n        pass\n",
    )
    answer = compile_here(host)
    assert answer.error is None
    assert "does not compile" in answer.kernels[0].reason


def test_one_size_that_fails_does_not_cost_the_others(compile_here):
    """The first failure is told with its size, and later sizes are compiled."""
    host = PLAIN.replace("def softmax(x):", "def softmax(x):\n    assert x.shape[0] != 1823, 'odd'")
    answer = compile_here(host, SMALL, SPEC.size((64, 64)))
    assert answer.error.status is Status.RUNTIME_ERROR
    assert "1823x781" in answer.error.reason
    assert "odd" in answer.error.reason
    assert [kernel.size.label for kernel in answer.kernels] == ["64x64"]


def test_reading_a_value_is_told_apart(compile_here):
    """Host code that needs a tensor's values gets a reason that names the GPU."""
    answer = compile_here(PLAIN.replace("x.shape\n", "x.shape\n    x.max().item()\n"))
    assert answer.error.status is Status.RUNTIME_ERROR
    assert "exist only on a GPU" in answer.error.reason


def test_scalars_and_own_dtypes_reach_the_kernel(compile_here):
    """A spec's scalars are passed on, and an argument that fills itself keeps its dtype."""
    import torch

    def labels(size, _dtype, generator, device):
        rows = size.as_dict()["rows"]
        return torch.randint(0, 9, (rows,), generator=generator, device=device)

    spec = Spec(
        **{
            **{name: getattr(SPEC, name) for name in SPEC.__dataclass_fields__},
            "arguments": (
                *SPEC.arguments,
                TensorArgument(name="labels", shape=("rows",), fill=labels),
                ScalarArgument(name="eps", value=1e-5),
            ),
        }
    )
    host = PLAIN.replace(
        "def softmax(x):",
        "def softmax(x, labels, eps):\n"
        "    assert (x.dtype, labels.dtype, eps) == (torch.float16, torch.int64, 1e-5)\n"
        "    assert labels.shape == x.shape[:1]",
    )
    answer = compile_here(host, spec=spec, dtype="float16")
    assert answer.error is None
    assert answer.kernels[0].dtype == "float16"


def test_missing_entry_point_is_named(compile_here):
    """A file without the function says which one it must define."""
    answer = compile_here(PLAIN.replace("def softmax", "def soft_max"))
    assert answer.error.status is Status.MISSING_ENTRY_POINT
    assert "'softmax'" in answer.error.reason


def test_nothing_of_the_stand_in_stays_behind(compile_here):
    """Torch and Triton answer for the real machine again afterwards."""
    import torch
    import triton

    before = (torch.cuda.is_available, triton.compile, triton.compiler.compile)
    driver = triton.runtime.driver._active
    compile_here(PLAIN)
    assert (torch.cuda.is_available, triton.compile, triton.compiler.compile) == before
    assert triton.runtime.driver._active is driver
    assert torch.empty(1, device="meta").device.type == "meta"


def test_unknown_target_lists_the_known():
    """A target that has no figures is a ConfigError that lists those that have."""
    with pytest.raises(ConfigError, match=r"sm_75.*sm_80, sm_86, sm_90, sm_100"):
        offline.compile_for(None, SPEC, (), "float32", "sm_75", 1.0)


def test_child_answers_beside_garbage_and_without_keys(monkeypatch):
    """Prints on both streams do not mix with the answer, and no key of ours reaches the file."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    monkeypatch.setenv("SOME_TOKEN", "secret")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    noise = """
import os, sys
print('{"kernels": [], "error": null}', flush=True)
os.write(1, b'{"kernels": [')
sys.__stdout__.write("}" * 100_000)
assert "secret" not in os.environ.values(), "a key is visible"
assert os.environ["HOME"] == os.getcwd() != os.path.expanduser("~root")
"""
    kernels, error = in_child(noise + KERNEL + PLAIN)
    assert error is None
    assert [(kernel.name, kernel.fits) for kernel in kernels] == [("softmax_kernel", True)]


def test_torch_work_beside_the_kernel_is_no_obstacle():
    """Reductions and the like, for which torch loads more of itself, run without a GPU too."""
    host = PLAIN.replace(
        "    n_rows, n_cols",
        "    x = x - x.max(dim=1, keepdim=True).values.clamp(min=0).sum()\n    n_rows, n_cols",
    )
    kernels, error = in_child(KERNEL + host)
    assert error is None
    assert [kernel.fits for kernel in kernels] == [True]


def test_syntax_error_names_the_place():
    """A file that cannot be parsed is a SYNTAX_ERROR, found before anything of it runs."""
    kernels, error = in_child("def softmax(x:\n    return x\n")
    assert kernels == ()
    assert error.status is Status.SYNTAX_ERROR
    assert "line 1" in error.reason


def test_exit_on_import_is_an_import_error():
    """A file that calls sys.exit(0) has not thereby passed."""
    kernels, error = in_child("import sys\nsys.exit(0)\n")
    assert kernels == ()
    assert error.status is Status.IMPORT_ERROR
    assert "sys.exit(0)" in error.reason


def test_process_that_ends_itself_has_crashed():
    """A file that ends the process leaves no answer, and its last words are in the log."""
    _, error = in_child("import os\nos.write(2, b'last words')\nos._exit(0)\n")
    assert error.status is Status.CRASHED
    assert "last words" in error.log


@pytest.mark.parametrize(
    "line",
    [
        f"open({__file__!r}).read()",
        "open('/tmp/tritonexp-written', 'w')",
        "import liger_kernel",
        "import socket; socket.socket()",
    ],
    ids=["project", "outside", "expert", "network"],
)
def test_file_is_confined_where_it_is_compiled(line):
    """It could have been honest in the interpreter, and only look around here."""
    kernels, error = in_child(f"{line}\n", hidden=("liger_kernel",))
    assert (kernels, error.status) == ((), Status.IMPORT_ERROR)
    assert "ermission" in error.log


def test_sandbox_can_be_left_out():
    """What is refused above is let through where the user says so."""
    _, error = in_child(f"open({__file__!r}).read()\n", hidden=None)
    assert "softmax" in error.reason


def test_timeout_kills_endless_loop_and_its_children():
    """At the time limit the whole process group is gone, also a child that the file started."""
    source = """
        import os, subprocess
        child = subprocess.Popen(["sleep", "300"])
        os.write(2, f"pids {os.getpid()} {child.pid} end".encode())
        while True:
            pass
    """
    start = time.monotonic()
    kernels, error = in_child(source, timeout_s=8.0)
    assert time.monotonic() - start < 60
    assert (kernels, error.status) == ((), Status.TIMEOUT)
    assert "8 s" in error.reason
    pids = error.log.partition("pids ")[2].partition(" end")[0].split()
    assert len(pids) == 2
    for pid in map(int, pids):
        assert is_gone(pid), f"process {pid} is still running"


def is_gone(pid, patience_s=10.0):
    """Whether a process has ended, or is only waiting to be reaped by whoever inherited it."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False
