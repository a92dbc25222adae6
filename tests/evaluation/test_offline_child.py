import pytest
from offline_sources import KERNEL, PLAIN, SMALL, SPEC

from tritonexp.evaluation.offline import child, parent
from tritonexp.operations import ScalarArgument, Spec, TensorArgument
from tritonexp.records import Status

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

# 4 GiB each: no memory may be taken for them
LARGE = SPEC.size((32_768, 32_768))


@pytest.fixture
def compile_here(tmp_path, monkeypatch):
    """Compile a trusted source in this process, as the child does."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))

    def run(host, *sizes, target="sm_90", dtype="float32", spec=SPEC, kernel=KERNEL):
        path = tmp_path / f"{tmp_path.name}_candidate.py"
        path.write_text(kernel + host)
        calls = [parent.call_of(spec, size, dtype) for size in sizes or (SMALL,)]
        return child.compile_file(path, "softmax", calls, target)

    return run


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
