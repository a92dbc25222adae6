"""What is right, on worked figures, on good kernels, and on solvers that must never pass."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tritonexp import operations, records
from tritonexp.errors import OperationError, ReferenceFailedError
from tritonexp.evaluation import correctness
from tritonexp.evaluation.correctness import (
    LARGEST_ALLOWED_ULP,
    allowed_error_ulp,
    check_form,
    error_of,
    judge,
    reference,
)
from tritonexp.evaluation.inputs import make_arguments, make_cases
from tritonexp.records import Case, Mode, Status

SOFTMAX = operations.load("softmax")
DTYPES = ("float32", "float16", "bfloat16")
INF, NAN = math.inf, math.nan


def tensor(values, dtype="float64"):
    """A tensor of these values."""
    return torch.tensor(values, dtype=getattr(torch, dtype))


def one_error_of(out, expected, dtype):
    """The error of a single result."""
    return error_of([out], [expected], dtype)


def flat(results):
    """Results as a list, one or several."""
    return list(results) if isinstance(results, tuple | list) else [results]


@dataclasses.dataclass
class Judged:
    """A case with all that its judging takes."""

    case: Case
    arguments: list[Any]
    expected: list[torch.Tensor]
    baseline: list[torch.Tensor]
    baseline_result: records.CaseResult


@pytest.fixture(scope="module")
def judged():
    """The interpreter's cases of an operation, each with its baseline judged."""
    known = {}

    def of(operation):
        if operation.name not in known:
            spec = operation.spec
            known[operation.name] = []
            for case in make_cases(spec, [], Mode.INTERPRETER, secret_seed=4):
                arguments = make_arguments(spec, case, "cpu")
                expected = reference(operation.function, arguments)
                baseline = flat(operation.function(*arguments))
                error_ulp = error_of(baseline, expected, case.dtype).error_ulp
                result = judge(baseline, expected, error_ulp, spec, case)
                known[operation.name].append(Judged(case, arguments, expected, baseline, result))
        return known[operation.name]

    return of


class Steps(TorchDispatchMode):
    """Keeps the floating point results of all operations but the last."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.found += [
            item
            for item in flat(result)
            if isinstance(item, torch.Tensor) and item.is_floating_point()
        ]
        return result


def like(value, wanted):
    """A tensor in the form of a result, or None where it cannot be broadcast to it."""
    try:
        return value.to(wanted.dtype).expand(wanted.shape).clone()
    except RuntimeError:
        return None


def first_step(operation, item):
    """The baseline's first operation in place of all of them; None where there is but one."""
    with Steps() as steps:
        operation.function(*item.arguments)
    made = [like(step, item.baseline[0]) for step in steps.found[:-1]]
    return next((value for value in made if value is not None), None)


def copy_of_an_input(operation, item):
    """The first input that can be given the result's shape."""
    inputs = (value for value in item.arguments if isinstance(value, torch.Tensor))
    made = (like(value, item.baseline[0]) for value in inputs)
    return next((value for value in made if value is not None), None)


def half(result, axis):
    """A result whose second half along an axis was never computed."""
    done = result.clone()
    extent = result.shape[axis]
    done.narrow(axis, extent // 2, extent - extent // 2).zero_()
    return done


SOLVERS = {
    "zeros": lambda operation, item: torch.zeros_like(item.baseline[0]),
    "ones": lambda operation, item: torch.ones_like(item.baseline[0]),
    "nan": lambda operation, item: torch.full_like(item.baseline[0], NAN),
    "mean of the result": lambda operation, item: like(
        item.baseline[0].float().mean(), item.baseline[0]
    ),
    "mean of each row": lambda operation, item: like(
        item.baseline[0].float().mean(-1, keepdim=True), item.baseline[0]
    ),
    "copy of an input": copy_of_an_input,
    "first step": first_step,
    "half of the rows": lambda operation, item: half(item.baseline[0], 0),
    "half of the columns": lambda operation, item: half(item.baseline[0], -1),
    "all but the last column": lambda operation, item: torch.cat(
        [item.baseline[0][..., :-1], torch.zeros_like(item.baseline[0][..., -1:])], dim=-1
    ),
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", operations.names())
def test_trivial_solver_fails_in_every_dtype(name, solver, judged):
    """What does no work is INCORRECT in each dtype of each operation."""
    operation = operations.load(name)
    failed, tried = set(), set()
    for item in judged(operation):
        out = SOLVERS[solver](operation, item)
        if out is None:
            continue
        tried.add(item.case.dtype)
        outputs = [out, *item.baseline[1:]]
        result = judge(
            outputs, item.expected, item.baseline_result.error_ulp, operation.spec, item.case
        )
        if result.status is Status.INCORRECT:
            failed.add(item.case.dtype)
    if not tried:
        # such as the first step of a baseline that is one operation
        assert solver in ("first step", "copy of an input")
        pytest.skip(f"{name} has no {solver} of the result's shape")
    assert failed == set(operation.spec.dtypes)


@pytest.mark.parametrize("name", operations.names())
def test_baseline_passes_its_own_cases(name, judged):
    """No case of a spec is so ill-conditioned that the baseline fails it."""
    failed = [
        (item.case, item.baseline_result.reason)
        for item in judged(operations.load(name))
        if item.baseline_result.status is not Status.CORRECT
    ]
    assert not failed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("distribution", SOFTMAX.spec.distributions)
def test_good_softmax_passes_everywhere(distribution, dtype):
    """torch.softmax, which computes in float32, passes in each distribution and dtype."""
    for seed, extents in enumerate(((1, 1), (3, 257), (33, 129), (5, 4097))):
        case = Case(
            size=SOFTMAX.spec.size(extents), dtype=dtype, distribution=distribution, seed=seed
        )
        (x,) = make_arguments(SOFTMAX.spec, case, "cpu")
        expected = reference(SOFTMAX.function, [x])
        own = one_error_of(SOFTMAX.function(x), expected[0], case.dtype)
        result = judge([x.softmax(1)], expected, own.error_ulp, SOFTMAX.spec, case)
        assert (result.status, result.reason) == (Status.CORRECT, "")
        assert result.error_ulp <= result.allowed_error_ulp


@pytest.mark.parametrize("distribution", ["normal", "sparse", "constant"])
def test_honest_order_of_summation_passes(distribution):
    """Threads that add 512 elements each one after the other are right, zeros or not."""
    case = Case(
        size=SOFTMAX.spec.size((2, 65536)), dtype="float32", distribution=distribution, seed=0
    )
    (x,) = make_arguments(SOFTMAX.spec, case, "cpu")
    expected = reference(SOFTMAX.function, [x])
    own = one_error_of(SOFTMAX.function(x), expected[0], case.dtype)
    numerator = (x - x.amax(1, keepdim=True)).exp()
    threads = torch.zeros(2, 128)
    for elements in numerator.view(2, 512, 128).unbind(1):
        threads += elements
    out = numerator / threads.sum(1, keepdim=True)
    assert judge([out], expected, own.error_ulp, SOFTMAX.spec, case).status is Status.CORRECT


@pytest.mark.parametrize("inside", ["float16", "bfloat16"])
@pytest.mark.parametrize("how", ["in", "out", "both"])
def test_half_precision_inside_float32_softmax_fails(inside, how):
    """Rounding the input, the result or both to a 16-bit type fails a float32 softmax."""
    low = getattr(torch, inside)
    case = Case(size=SOFTMAX.spec.size((33, 129)), dtype="float32", distribution="normal", seed=1)
    (x,) = make_arguments(SOFTMAX.spec, case, "cpu")
    expected = reference(SOFTMAX.function, [x])
    own = one_error_of(SOFTMAX.function(x), expected[0], case.dtype)
    out = (x if how == "out" else x.to(low).float()).softmax(1)
    out = out if how == "in" else out.to(low).float()
    result = judge([out], expected, own.error_ulp, SOFTMAX.spec, case)
    assert result.status is Status.INCORRECT
    # not even the largest allowance of all would let it pass
    assert result.error_ulp > LARGEST_ALLOWED_ULP["float32"]


def test_bfloat16_inside_float16_softmax_fails():
    """A result that went through bfloat16 is told from one of float16."""
    case = Case(size=SOFTMAX.spec.size((33, 129)), dtype="float16", distribution="normal", seed=1)
    (x,) = make_arguments(SOFTMAX.spec, case, "cpu")
    out = x.bfloat16().softmax(1).half()
    result = judge([out], reference(SOFTMAX.function, [x]), 1.0, SOFTMAX.spec, case)
    assert result.status is Status.INCORRECT


@pytest.mark.parametrize("k", [64, 4096])
def test_tf32_products_exceed_any_allowance(k):
    """A float32 matmul passes at any k by far; one of operands cut to TF32 never does."""
    generator = torch.Generator().manual_seed(k)
    a, b = (torch.randn(shape, generator=generator) for shape in ((16, k), (k, 32)))
    expected = a.double() @ b.double()
    # TF32 keeps ten bits of mantissa
    cut = [(value.view(torch.int32) & ~0x1FFF).view(torch.float32) for value in (a, b)]
    assert one_error_of(a @ b, expected, "float32").error_ulp < 8
    error_ulp = one_error_of(cut[0] @ cut[1], expected, "float32").error_ulp
    assert error_ulp > LARGEST_ALLOWED_ULP["float32"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_are_off_by_one_over_epsilon(dtype):
    """A row of zeros is 1 / epsilon off whatever its scale, beyond every allowance."""
    expected = tensor([[0.25, -0.5], [1e-3, 1e-4]])
    figures = one_error_of(torch.zeros(2, 2), expected, dtype)
    assert figures.error_ulp == pytest.approx(1 / torch.finfo(getattr(torch, dtype)).eps)
    assert figures.error_ulp > 10 * LARGEST_ALLOWED_ULP[dtype]
    assert figures.max_abs_error == 0.5


def test_error_is_relative_to_the_rows_scale():
    """An error counts over its own row's largest value, and the worst row decides."""
    eps = torch.finfo(torch.float32).eps
    expected = tensor([[100.0, 1.0], [1.0, 0.5]])
    in_large_row = tensor([[100.0, 1.0 + 200 * eps], [1.0, 0.5]])
    in_small_row = tensor([[100.0, 1.0], [1.0, 0.5 + 3 * eps]])
    assert one_error_of(in_large_row, expected, "float32").error_ulp == pytest.approx(2.0)
    figures = one_error_of(in_small_row, expected, "float32")
    assert figures.error_ulp == pytest.approx(3.0)
    assert figures.max_abs_error == pytest.approx(3 * eps)
    assert figures.worst == (1, 1)


def test_row_of_zeros_may_be_off_by_a_few_of_the_smallest_steps():
    """Where float64 gives all zeros, subnormal dust passes and anything larger does not."""
    expected = torch.zeros(1, 4, dtype=torch.float64)
    step = 2.0**-149
    assert (
        one_error_of(tensor([[0.0, 2 * step, 0.0, 0.0]], "float32"), expected, "float32").error_ulp
        == 2
    )
    assert (
        one_error_of(tensor([[0.0, 1e-30, 0.0, 0.0]], "float32"), expected, "float32").error_ulp
        > 1e6
    )
    assert one_error_of(torch.zeros(1, 4), expected, "float32").error_ulp == 0


@pytest.mark.parametrize(
    ("got", "wanted", "misplaced"),
    [
        ([1.0, NAN], [1.0, NAN], 0),
        ([1.0, INF], [1.0, INF], 0),
        ([1.0, -INF], [1.0, -INF], 0),
        ([1.0, NAN], [1.0, 2.0], 1),
        ([1.0, 2.0], [1.0, NAN], 1),
        ([NAN, NAN], [1.0, INF], 2),
        ([1.0, -INF], [1.0, INF], 1),
        ([1.0, INF], [1.0, 2.0], 1),
        ([1.0, 2.0], [1.0, -INF], 1),
        # beyond float16's 65,504
        ([1.0, INF], [1.0, 1e6], 0),
        ([1.0, -INF], [1.0, -1e6], 0),
        ([1.0, 65504.0], [1.0, 1e6], 0),
        ([1.0, -INF], [1.0, 1e6], 1),
        ([1.0, NAN], [1.0, 1e6], 1),
        ([1.0, INF], [1.0, 60000.0], 1),
    ],
)
def test_nan_and_infinities_must_be_in_place(got, wanted, misplaced):
    """The pattern must be float64's; beyond the finite range the infinity of that sign is right."""
    figures = one_error_of(tensor([got], "float16"), tensor([wanted]), "float16")
    assert figures.misplaced == misplaced
    assert figures.error_ulp == (INF if misplaced else 0.0)


def test_overflow_does_not_loosen_the_rest_of_its_row():
    """One element beyond the finite range counts as the largest value, not as its float64 one."""
    expected = tensor([[1e30, 1000.0]])
    figures = one_error_of(tensor([[INF, 0.0]], "float16"), expected, "float16")
    assert figures.error_ulp == pytest.approx(1000 / 65504 * 1024)


@pytest.mark.parametrize("shape", [(37, 11), (2, 3, 50), (1, 1000), (1000,), (7, 1), ()])
def test_chunks_do_not_change_the_figures(shape, monkeypatch):
    """Held in pieces of 16 elements, rows and columns are judged as when held at once."""
    generator = torch.Generator().manual_seed(0)
    expected = torch.randn(shape, generator=generator, dtype=torch.float64)
    out = expected.float() * (1 + 1e-5 * torch.randn(shape, generator=generator))
    whole = one_error_of(out, expected, "float32")
    monkeypatch.setattr(correctness, "ELEMENTS_AT_ONCE", 16)
    assert one_error_of(out, expected, "float32") == whole


def _mixed_values(generator, *, odd):
    """Rows of several scales, and with `odd` also NaN, infinities and what overflows float16."""
    wanted = torch.randn(6, 33, generator=generator, dtype=torch.float64)
    wanted *= torch.tensor([1, 1e-9, 3e3, 0, 1, 60.0], dtype=torch.float64)[:, None]
    got = (wanted * (1 + 1e-3 * torch.randn(6, 33, generator=generator))).to(torch.float16)
    if odd == "nan":
        got[2, 5] = math.nan
    elif odd == "inf":
        got[4, 0] = math.inf
    elif odd == "both":
        got[1, 1], wanted[1, 1] = math.nan, math.nan
    elif odd == "range":
        wanted[3, 7], got[3, 7] = 1e5, 65_504
    return got, wanted


@pytest.mark.parametrize("odd", ["", "nan", "inf", "both", "range"])
def test_short_way_finds_what_the_long_way_does(odd):
    """Where all is finite, in a third of the operations; elsewhere it leaves it to the other."""
    limits = torch.finfo(torch.float16)
    generator = torch.Generator().manual_seed(5)
    for _ in range(20):
        got, wanted = _mixed_values(generator, odd=odd)
        short = correctness._compare_plain(got, wanted, limits)
        long = correctness._worst_of(correctness._compare_rows(got, wanted, limits), limits)
        if odd:
            assert short is None
        else:
            assert short == long
            assert short.error_ulp > 0


def test_misplaced_nan_in_a_late_chunk_is_found(monkeypatch):
    """A single NaN far behind is counted and located."""
    monkeypatch.setattr(correctness, "ELEMENTS_AT_ONCE", 16)
    expected = torch.ones(9, 50, dtype=torch.float64)
    out = expected.float()
    out[8, 49] = NAN
    figures = one_error_of(out, expected, "float32")
    assert (figures.misplaced, figures.worst, figures.error_ulp) == (1, (8, 49), INF)


@pytest.mark.parametrize(
    ("dtype", "baseline_error_ulp", "allowed"),
    [
        ("float32", 0.5, 256.0),
        ("float32", 100.0, 400.0),
        ("float32", 1e6, 512.0),
        ("float32", INF, 512.0),
        ("float32", None, 256.0),
        ("float16", None, 4.0),
        ("float16", 0.5, 4.0),
        ("bfloat16", 3.0, 8.0),
    ],
)
def test_allowance_follows_the_baseline_up_to_a_limit(dtype, baseline_error_ulp, allowed):
    """Four times the baseline's error or the least, never beyond the dtype's limit."""
    assert allowed_error_ulp(SOFTMAX.spec, dtype, baseline_error_ulp) == allowed


def test_allowance_of_an_unknown_dtype_is_an_error():
    """A dtype without a limit is named along with those that have one."""
    with pytest.raises(OperationError, match=r"int32 .* float32, float16, bfloat16"):
        allowed_error_ulp(SOFTMAX.spec, "int32", 1.0)


def one_case(dtype="float32", extents=(2, 3)):
    """A case of softmax."""
    return Case(size=SOFTMAX.spec.size(extents), dtype=dtype, distribution="normal", seed=0)


def test_incorrect_result_says_where_and_by_how_much():
    """The reason holds the error, the allowance, the place and both values."""
    expected = tensor([[1.0, 2.0, 4.0], [1.0, 1.0, 1.0]])
    out = tensor([[1.0, 2.0, 4.0], [1.0, 1.5, 1.0]], "float32")
    result = judge([out], [expected], 0.5, SOFTMAX.spec, one_case())
    assert result.status is Status.INCORRECT
    assert result.reason == (
        "the result is off by 4.194e+06 ulp where 256 are allowed, worst at [1, 1]:"
        " 1.5 where float64 gives 1"
    )
    assert (result.baseline_error_ulp, result.max_abs_error) == (0.5, 0.5)


def test_misplaced_nan_has_a_reason_and_no_figures():
    """NaN in a result is INCORRECT, and the record of it can be written as JSON."""
    expected = torch.ones(2, 3, dtype=torch.float64)
    out = expected.float()
    out[0, 2] = NAN
    result = judge([out], [expected], 0.5, SOFTMAX.spec, one_case())
    assert result.status is Status.INCORRECT
    assert result.reason == (
        "1 of 6 elements are NaN or infinite where they should not be, or the reverse;"
        " the result at [0, 2]: nan where float64 gives 1"
    )
    assert (result.error_ulp, result.max_abs_error) == (None, None)
    assert records.from_json(records.CaseResult, records.to_json(result)) == result


def test_baseline_beyond_the_limit_fails_by_its_own_error():
    """Four times its own error helps no baseline beyond the dtype's limit."""
    expected = torch.ones(2, 3, dtype=torch.float64)
    for error, status in ((2e-5, Status.CORRECT), (2e-4, Status.INCORRECT)):
        out = (expected * (1 + error)).float()
        own = one_error_of(out, expected, "float32").error_ulp
        assert judge([out], [expected], own, SOFTMAX.spec, one_case()).status is status


def test_worst_of_several_results_decides():
    """A tuple is judged by its worst member, which the reason names."""
    expected = [torch.ones(2, 3, dtype=torch.float64)] * 2
    outputs = [torch.ones(2, 3), torch.zeros(2, 3)]
    result = judge(outputs, expected, 0.5, SOFTMAX.spec, one_case())
    assert result.status is Status.INCORRECT
    assert result.reason.startswith("result 2 is off by")


def test_reference_is_float64_and_leaves_the_arguments_alone():
    """Tensors are widened on copies, scalars and integers go in as they are."""
    x, index = torch.full((2, 2), 3.0), torch.tensor([1, 0])

    def scaled(x, index, factor):
        return x.mul_(factor)[index], index.to(x.dtype)

    first, second = reference(scaled, [x, index, 2.0])
    assert first.dtype == second.dtype == torch.float64
    assert first.tolist() == [[6.0, 6.0], [6.0, 6.0]]
    assert x.tolist() == [[3.0, 3.0], [3.0, 3.0]]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: x.float().softmax(1).to(x.dtype), "computes .*float32.*promote_types"),
        (lambda x: x + torch.ones(2, dtype=torch.float16), "computes .*float16"),
        (lambda x: x.argmax(1), "int64"),
        (lambda x: "text", "str"),
        (lambda x: x @ torch.ones(7, 7, dtype=torch.float64), "failed in float64: RuntimeError"),
    ],
)
def test_baseline_without_float64_results_is_an_error(function, said):
    """A baseline that narrows, returns no floats or raises has no reference."""
    with pytest.raises(ReferenceFailedError, match=said):
        reference(function, [torch.ones(2, 2)])


def said_of(**changes):
    """What a worker says of a good float32 2x3 result."""
    good = {
        "type": "torch.Tensor",
        "shape": [2, 3],
        "dtype": "float32",
        "device": "cpu",
        "strides": [3, 1],
        "aliases_input": False,
        "aliases_earlier": False,
    }
    return {**good, **changes}


def form_of(*results, container="torch.Tensor", shape=(2, 3), baseline=None):
    """What check_form says of results that are given where one float32 result is expected."""
    return check_form(
        {"type": container, "results": list(results)},
        {"type": "torch.Tensor", "results": [baseline or said_of()]},
        [{"offset": 0, "shape": list(shape), "dtype": "float32"}],
        "cpu",
    )


def test_good_form_has_no_reason():
    """The right type, shape, dtype, device and strides pass; those of an extent of 1 are free."""
    assert form_of(said_of()) is None
    assert form_of(said_of(shape=[1, 3], strides=[99, 1]), shape=(1, 3)) is None


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([], "0 results were returned where 1 are expected"),
        ([said_of(), said_of()], "2 results"),
        ([said_of(type="torch.nn.parameter.Parameter")], "type torch.nn.parameter.Parameter"),
        ([{"type": "builtins.NoneType"}], "type builtins.NoneType"),
        (["text"], "the result was described as text"),
        ([said_of(shape=[3, 2])], "shape [3, 2] where [2, 3] is expected"),
        ([said_of(shape=None)], "shape None"),
        ([said_of(dtype="float16")], "dtype float16 where float32 is expected"),
        ([said_of(device="cuda")], "device cuda where cpu is expected"),
        ([said_of(strides=[1, 2])], "strides [1, 2] and is not contiguous"),
        ([said_of(strides=[0, 1])], "not contiguous"),
        ([said_of(strides="31")], "not contiguous"),
        ([said_of(aliases_input=True)], "shares its memory with an input"),
        ([said_of(aliases_input=None)], "shares its memory with an input"),
        ([said_of(aliases_earlier=True)], "memory of an earlier result"),
        ([said_of(aliases_earlier=None)], "memory of an earlier result"),
        ([said_of(dtype="x" * 10_000)], "x..."),
    ],
)
def test_wrong_form_is_told(results, said):
    """Each deviation, and whatever else a worker may say, gives a reason that names it."""
    reason = form_of(*results)
    assert reason is not None
    assert said in reason
    assert len(reason) < 300


def test_container_must_be_the_baselines():
    """A tuple where the baseline returns a tensor is told, and so is an answer without results."""
    said = "builtins.tuple was returned where the baseline returns torch.Tensor"
    assert form_of(said_of(), container="builtins.tuple") == said
    without = check_form(
        {"type": "torch.Tensor"}, {"type": "torch.Tensor", "results": []}, [{}], "cpu"
    )
    assert without == "0 results were returned where 1 are expected"


def test_result_may_lie_in_an_input_where_the_baselines_does():
    """An operation that works in place returns its input, and so may a candidate."""
    aliased = said_of(aliases_input=True)
    assert form_of(aliased, baseline=said_of(aliases_input=True)) is None
