"""Distributions, arguments and the choice of cases."""

import dataclasses
import itertools
import math

import pytest
import torch

from tritonexp import operations
from tritonexp.errors import OperationError
from tritonexp.evaluation.inputs import (
    AMPLE_ELEMENTS,
    AMPLE_EXTENT,
    DISTRIBUTIONS,
    HIDDEN_SIZES,
    LARGE_CASE_BYTES,
    fill_argument,
    make_arguments,
    make_cases,
    poison_byte,
)
from tritonexp.operations import ScalarArgument, TensorArgument
from tritonexp.records import Case, Mode, Size

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
STUDY = ((1024, 1024), (2048, 2048), (4096, 4096), (8192, 1024))
EVERY_OPERATION = operations.names()


def draw(name, shape=(40, 300), dtype=torch.float32, seed=0):
    """A tensor of a distribution."""
    generator = torch.Generator().manual_seed(seed)
    return DISTRIBUTIONS[name](shape, dtype, generator, "cpu")


def cases_of(name, mode, secret_seed=0):
    """The spec of an operation, its timed sizes and its cases."""
    spec = operations.load(name).spec
    sizes = [spec.size(extents) for extents in STUDY]
    return spec, sizes, make_cases(spec, sizes, mode, secret_seed)


@pytest.mark.parametrize("shape", [(1, 1), (5,), (3, 257), (2, 3, 64)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distribution_keeps_shape_and_dtype_and_repeats(name, dtype, shape):
    """A draw is contiguous, of the shape and dtype asked for, and the same for the same seed."""
    first, again = draw(name, shape, dtype, seed=11), draw(name, shape, dtype, seed=11)
    assert (tuple(first.shape), first.dtype) == (shape, dtype)
    assert first.is_contiguous()
    assert torch.equal(first.view(torch.uint8), again.view(torch.uint8))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_seed_changes_the_values(name):
    """Two seeds give two tensors."""
    assert not torch.equal(draw(name, seed=1), draw(name, seed=2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(set(DISTRIBUTIONS) - {"nan", "plus_inf", "minus_inf"}))
def test_ordinary_distributions_are_finite(name, dtype):
    """Nothing but the distributions named for it holds NaN or infinities, in any dtype."""
    assert all(draw(name, dtype=dtype, seed=seed).isfinite().all() for seed in range(5))


def test_shifted_has_a_mean_far_from_zero():
    """The mean is many spreads away from zero, on both sides over the seeds."""
    means = {seed: float(draw("shifted", seed=seed).mean()) for seed in range(8)}
    assert all(abs(mean) > 50 for mean in means.values())
    assert len({mean > 0 for mean in means.values()}) == 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_overflows_a_softmax_without_maximum(dtype):
    """Exp of the values is infinite somewhere in every row, even in float32."""
    assert draw("large", dtype=dtype).float().exp().isinf().any(dim=1).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_tiny_squares_underflow(dtype):
    """Most squares fall below the smallest normal number, the values themselves mostly do not."""
    values, limits = draw("tiny", dtype=dtype), torch.finfo(dtype)
    assert (values.double().square() < limits.tiny).double().mean() > 0.5
    assert (values.abs() >= limits.tiny).double().mean() > 0.9


def test_constant_rows_hold_one_value_each():
    """Each row is one value and the rows differ."""
    values = draw("constant")
    assert torch.equal(values, values[:, :1].expand_as(values))
    assert len(values[:, 0].unique()) == 40


def test_sorted_rows_rise_or_fall():
    """Rows are in order, rising for some seeds and falling for others."""
    signs = set()
    for seed in range(8):
        steps = draw("sorted", seed=seed).diff(dim=1)
        assert (steps >= 0).all() or (steps <= 0).all()
        signs.add(bool((steps >= 0).all()))
    assert signs == {True, False}


@pytest.mark.parametrize("dtype", DTYPES)
def test_outlier_is_one_huge_element_per_row(dtype):
    """Each row has exactly one element beyond 1,000, not always in one place."""
    huge = draw("outlier", dtype=dtype).abs() > 1_000
    assert (huge.sum(dim=1) == 1).all()
    assert len(huge.int().argmax(dim=1).unique()) > 10


def test_sparse_has_one_dense_row():
    """Most elements are zero and exactly one row has no zero."""
    zeros = draw("sparse") == 0
    assert zeros.double().mean() > 0.8
    assert (zeros.sum(dim=1) == 0).sum() == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_near_limit_reaches_for_the_largest_value(dtype):
    """Every magnitude is at least half the dtype's largest, of both signs."""
    values = draw("near_limit", dtype=dtype).double()
    assert values.abs().min() >= 0.49 * torch.finfo(dtype).max
    assert values.abs().max() > 0.97 * torch.finfo(dtype).max
    assert values.min() < 0 < values.max()


@pytest.mark.parametrize("shape", [(40, 300), (500, 2), (30, 1)])
def test_minus_inf_never_masks_a_whole_row(shape):
    """Some elements are -inf where a row has several, and each row keeps a finite one."""
    values = draw("minus_inf", shape)
    assert values.isfinite().any(dim=1).all()
    assert (values == -math.inf).any() == (shape[1] > 1)


@pytest.mark.parametrize(("name", "found"), [("nan", torch.isnan), ("plus_inf", torch.isposinf)])
def test_speckled_holds_a_few_and_at_least_one(name, found):
    """A tensor of any extent has one such element, a large one few."""
    assert found(draw(name, (1, 3))).any()
    assert 0 < found(draw(name)).double().mean() < 0.05


def test_arguments_come_in_the_order_of_the_signature():
    """Tensors and scalars keep the spec's order, and only varied ones follow the distribution."""
    spec = dataclasses.replace(
        operations.load("softmax").spec,
        arguments=(
            TensorArgument(name="x", shape=("rows", "cols")),
            ScalarArgument(name="eps", value=1e-5),
            TensorArgument(name="weight", shape=("cols",), varied=False),
            TensorArgument(
                name="index",
                shape=("rows",),
                fill=lambda size, dtype, generator, device: torch.randint(
                    5, (size.as_dict()["rows"],), generator=generator, device=device
                ),
            ),
        ),
    )
    case = Case(size=spec.size((6, 50)), dtype="float16", distribution="near_limit", seed=3)
    x, eps, weight, index = make_arguments(spec, case, "cpu")
    assert (tuple(x.shape), x.dtype) == ((6, 50), torch.float16)
    assert x.abs().min() > 30_000
    assert eps == 1e-5
    assert tuple(weight.shape) == (50,)
    assert weight.abs().max() < 10
    assert index.dtype == torch.int64
    x_again, _, weight_again, index_again = make_arguments(spec, case, "cpu")
    assert torch.equal(x, x_again)
    assert torch.equal(weight, weight_again)
    assert torch.equal(index, index_again)


@pytest.mark.parametrize(
    ("argument", "dtype", "distribution", "said"),
    [
        (TensorArgument(name="x", shape=("n",)), "float32", "gaussian", "there are normal"),
        (TensorArgument(name="x", shape=("n",)), "int32", "normal", "give argument 'x' a `fill`"),
        (
            TensorArgument(name="x", shape=("n",), fill=lambda *_: torch.zeros(3)),
            "float32",
            "normal",
            "made .3. on cpu, but its shape is .4.",
        ),
    ],
)
def test_what_a_spec_cannot_mean_is_an_error(argument, dtype, distribution, said):
    """An unknown distribution, integers without a fill and a fill of another shape are refused."""
    case = Case(
        size=Size(axes=("n",), extents=(4,)), dtype=dtype, distribution=distribution, seed=0
    )
    with pytest.raises(OperationError, match=said):
        fill_argument(argument, case, torch.Generator(), "cpu")


@pytest.mark.parametrize("secret_seed", [0, 1, 2**63])
@pytest.mark.parametrize("name", EVERY_OPERATION)
def test_gpu_cases_cover_what_is_promised(name, secret_seed):
    """Timed sizes several times, irregular sizes and distributions in every dtype, hidden sizes."""
    spec, sizes, cases = cases_of(name, Mode.GPU, secret_seed)
    assert len(cases) <= 70
    drawn = [(case.size, case.dtype, case.distribution) for case in cases]
    for size in sizes:
        assert drawn.count((size, spec.timed_dtype, "normal")) >= 2
        kinds = {item[2] for item in drawn if item[:2] == (size, spec.timed_dtype)}
        assert len(kinds) >= min(2, len(spec.distributions))
    pairs = {(size, dtype) for size, dtype, _ in drawn}
    irregular = {spec.size(extents) for extents in spec.irregular}
    assert pairs >= set(itertools.product(irregular, spec.dtypes))
    shown = {
        (dtype, kind) for size, dtype, kind in drawn if math.prod(size.extents) >= AMPLE_ELEMENTS
    }
    assert shown >= set(itertools.product(spec.dtypes, spec.distributions))
    hidden = {case.size for case in cases} - irregular - set(sizes)
    assert len(hidden) >= 6


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", EVERY_OPERATION)
def test_hidden_sizes_keep_to_the_limits(name, mode):
    """Over many secrets no size goes beyond the spec's extents or the byte limit."""
    spec = operations.load(name).spec
    spec = dataclasses.replace(spec, irregular=(), max_extents=dict.fromkeys(spec.axes, 3_000))
    spec = dataclasses.replace(spec, interpreter=spec.interpreter[:1])
    limit = HIDDEN_SIZES[mode].limit_bytes
    seen = set()
    for secret_seed in range(30):
        for case in make_cases(spec, [], mode, secret_seed):
            assert all(1 <= extent <= 3_000 for extent in case.size.extents)
            assert spec.call_bytes(case.size, case.dtype) <= limit
            seen.add(case.size)
    assert len(seen) > 30


def test_secret_chooses_sizes_and_seeds():
    """Another secret gives other hidden sizes and seeds; the same one the same cases."""
    _, sizes, first = cases_of("softmax", Mode.GPU, 1)
    _, _, second = cases_of("softmax", Mode.GPU, 2)
    assert first == cases_of("softmax", Mode.GPU, 1)[2]
    known = {*sizes}
    assert {case.size for case in first} - known != {case.size for case in second} - known
    assert not {case.seed for case in first} & {case.seed for case in second}


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", EVERY_OPERATION)
def test_every_case_has_its_own_seed(name, mode):
    """No two cases share a seed, and a CPU's generator keeps every bit of it."""
    _, _, cases = cases_of(name, mode)
    assert len({case.seed for case in cases}) == len(cases)
    assert all(0 <= case.seed < 2**32 for case in cases)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", EVERY_OPERATION)
def test_cases_come_small_ones_first(name, mode):
    """A broken kernel is found before the large cases are paid for."""
    spec, _, cases = cases_of(name, mode)
    sizes_bytes = [spec.call_bytes(case.size, case.dtype) for case in cases]
    assert sizes_bytes == sorted(sizes_bytes)


@pytest.mark.parametrize("name", EVERY_OPERATION)
def test_interpreter_cases_are_few_small_and_cover(name):
    """About forty small cases hold every size in every dtype and every distribution."""
    spec, sizes, cases = cases_of(name, Mode.INTERPRETER)
    assert len(cases) <= 45
    assert not {case.size for case in cases} & set(sizes)
    wanted = {spec.size(extents) for extents in spec.interpreter}
    assert {(case.size, case.dtype) for case in cases} >= set(
        itertools.product(wanted, spec.dtypes)
    )
    # each at a size with enough of everything, of which chance cannot make the worst error small
    assert {
        case.distribution
        for case in cases
        if case.dtype == spec.timed_dtype and min(case.size.extents) >= AMPLE_EXTENT
    } == set(spec.distributions)
    assert all(spec.call_bytes(case.size, case.dtype) < 1 << 20 for case in cases)


def test_large_timed_size_costs_fewer_cases():
    """A size of a gigabyte is tried twice, not five times."""
    spec = operations.load("softmax").spec
    large = spec.size((32768, 8192))
    assert spec.call_bytes(large, "float32") > LARGE_CASE_BYTES
    cases = make_cases(spec, [large], Mode.GPU, 0)
    assert sum(case.size == large for case in cases) == 2


def test_poison_varies_and_is_never_zero():
    """Over seeds the byte differs, fits a byte and is not zero; one seed gives one byte."""
    found = {poison_byte(seed) for seed in range(200)}
    assert found <= set(range(1, 256))
    assert {0xFF, 0x7B, 0x3C, 0xAB} < found
    assert poison_byte(9) == poison_byte(9)
    # repeated over an element, one reads as NaN and one as an ordinary value
    elements = torch.tensor([[0xFF] * 4, [0x3C] * 4], dtype=torch.uint8).view(torch.float32)
    assert elements[0].isnan()
    assert 0.001 < elements[1] < 1
