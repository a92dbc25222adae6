"""What kernels are tried on: the cases of a verification, and the tensors of a case.

Which cases there are depends on a secret that is drawn for each evaluation: the hidden sizes, the
turns of the distributions and every seed. A case's tensors depend on its seed and on the device's
kind: a CPU and a GPU draw different values from one seed.

Does not cover integer tensors (give the argument a `fill`), tensors without an axis, and sizes
whose extents depend on each other: any extents up to the spec's largest are taken to be valid.
"""

from __future__ import annotations

import itertools
import math
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tritonexp.errors import OperationError
from tritonexp.operations import ITEMSIZE_BYTES, Spec, TensorArgument
from tritonexp.records import Case, Mode, Size

Draw = Callable[[tuple[int, ...], torch.dtype, torch.Generator, str], torch.Tensor]
Plan = tuple[Size, str, str]  # with the names of a dtype and a distribution

OFFSET = 64.0  # of shifted: far beyond the spread, yet float16 and bfloat16 still tell values apart
# of raised: squares of the mean swallow a variance, and its own rounding does not show; 16 bits of
# mantissa or fewer cannot tell such values apart
RAISED, RAISED_IN_16_BITS = 24.0, 2.0
LARGE_SCALE = 100.0  # exp overflows float32 from 89 on
OUTLIER = 1e4  # within float16's range
TINY_SCALE = {torch.float16: 1e-3}  # elsewhere 1e-30: small, but no subnormals
# of minus_inf, and of nan and plus_inf
MASKED_SHARE, SPECKLED_SHARE = 0.25, 1 / 64
DENSE_SHARE = 0.1

# a timed size beyond this is tried on fewer cases, since each costs seconds
LARGE_CASE_BYTES = 256 << 20
# fewer elements than this cannot show a distribution
AMPLE_ELEMENTS = 64
# nor can fewer along an axis: of a few rows the worst error may be a small one by chance. Asked for
# only without a GPU, with which each is verified at every timed size too
AMPLE_EXTENT = 16
# a CPU's generator heeds 32 bits of its seed
SEEDS = range(1 << 32)
DRAWS_OF_A_SIZE = 1_000


@dataclass(frozen=True, kw_only=True)
class HiddenSizes:
    """Which sizes a secret may choose; extents from and to, before the spec's own limits."""

    patterns: tuple[str, ...]
    moderate: tuple[int, int]
    long: tuple[int, int]
    thin: tuple[int, int]
    limit_bytes: int  # all tensors of a call


HIDDEN_SIZES = {
    Mode.GPU: HiddenSizes(
        patterns=(
            "prime",
            "prime",
            "power",
            "one_off",
            "one_off",
            "long_thin",
            "short_wide",
            "single",
        ),
        moderate=(16, 4096),
        long=(8192, 1 << 20),
        thin=(1, 32),
        limit_bytes=64 << 20,
    ),
    Mode.INTERPRETER: HiddenSizes(
        patterns=("prime", "one_off"),
        moderate=(2, 96),
        long=(128, 1024),
        thin=(1, 4),
        limit_bytes=64 << 10,
    ),
}


def ordinary(spec: Spec) -> str:
    """The distribution that an operation is timed on."""
    return "normal" if "normal" in spec.distributions else spec.distributions[0]


def make_arguments(spec: Spec, case: Case, device: str) -> list[Any]:
    """The arguments of a case in the order of the signature; the same for the same seed."""
    generator = torch.Generator(device=device).manual_seed(case.seed)
    return [
        fill_argument(argument, case, generator, device)
        if isinstance(argument, TensorArgument)
        else argument.value
        for argument in spec.arguments
    ]


def fill_argument(
    argument: TensorArgument, case: Case, generator: torch.Generator, device: str
) -> torch.Tensor:
    """One contiguous tensor of a case; raises OperationError for what the spec cannot mean."""
    dtype = getattr(torch, case.dtype)
    extents = case.size.as_dict()
    shape = tuple(extents[axis] for axis in argument.shape)
    if argument.fill is not None:
        made: torch.Tensor = argument.fill(case.size, dtype, generator, device)
        if tuple(made.shape) != shape or made.device.type != torch.device(device).type:
            raise OperationError(
                f"the fill of argument {argument.name!r} made {list(made.shape)} on {made.device},"
                f" but its shape is {list(shape)} on {device}; correct it in spec.py."
            )
        return made.contiguous()
    if not dtype.is_floating_point:
        raise OperationError(
            f"no distribution fills {case.dtype}; give argument {argument.name!r} a `fill`."
        )
    name = case.distribution if argument.varied else "normal"
    if name not in DISTRIBUTIONS:
        raise OperationError(
            f"there is no distribution {name!r}; there are {', '.join(DISTRIBUTIONS)}."
        )
    return DISTRIBUTIONS[name](shape, dtype, generator, device)


def make_cases(
    spec: Spec, timed_sizes: Sequence[Size], mode: Mode, secret_seed: int
) -> tuple[Case, ...]:
    """The cases of one evaluation, small ones first, each with a seed of its own.

    On a GPU: every timed size twice on ordinary values, on two distributions and in another
    dtype; every irregular size in every dtype, and every distribution in every dtype; hidden
    sizes. In the interpreter the timed sizes would take minutes and are left out: its own sizes
    and the smaller half of the irregular ones in every dtype, every distribution in the timed
    dtype, and two small hidden sizes.
    """
    secret = random.Random(secret_seed)
    turns = _Turns(spec, secret)
    irregular = sorted(map(spec.size, spec.irregular), key=_elements)
    if mode is Mode.GPU:
        planned = [plan for size in timed_sizes for plan in _plan_timed(spec, size, turns)]
        for dtype in spec.dtypes:
            planned += _plan_covering(irregular, dtype, turns)
    else:
        smaller = irregular[: (len(irregular) + 1) // 2]
        sizes = list(dict.fromkeys([*map(spec.size, spec.interpreter), *smaller]))
        planned = _plan_covering(sizes, spec.timed_dtype, turns, AMPLE_EXTENT)
        planned += [turns.plan(size, dtype) for dtype in turns.others for size in sizes]
    for pattern in HIDDEN_SIZES[mode].patterns:
        size = _hidden_size(spec, pattern, HIDDEN_SIZES[mode], secret)
        planned += [turns.plan(size, spec.timed_dtype), *turns.plan_other(size)]
    planned.sort(key=lambda plan: spec.call_bytes(plan[0], plan[1]))
    seeds = secret.sample(SEEDS, len(planned))
    return tuple(
        Case(size=size, dtype=dtype, distribution=distribution, seed=seed)
        for (size, dtype, distribution), seed in zip(planned, seeds, strict=True)
    )


def poison_byte(seed: int) -> int:
    """A byte to fill memory with before a call, so that what is not written shows.

    Repeated over an element it reads, by turns, as NaN, as huge, as ordinary or as any other
    value; never as zero, which an unwritten result could rightly be.
    """
    secret = random.Random(seed)
    return secret.choice([0xFF, 0x7B, 0x3C, 0xAB, secret.randrange(1, 256)])


class _Turns:
    """Deals each dtype the distributions in turns, and sizes the dtypes that are not timed."""

    def __init__(self, spec: Spec, secret: random.Random) -> None:
        self.count = len(spec.distributions)
        self.others = tuple(dtype for dtype in spec.dtypes if dtype != spec.timed_dtype)
        self._other = itertools.cycle(self.others)
        self._distributions = {
            dtype: itertools.cycle(secret.sample(spec.distributions, self.count))
            for dtype in spec.dtypes
        }

    def plan(self, size: Size, dtype: str) -> Plan:
        """The size in a dtype, on the next distribution."""
        return size, dtype, next(self._distributions[dtype])

    def plan_other(self, size: Size) -> list[Plan]:
        """The size in the next dtype that is not timed; nothing where there is none."""
        return [self.plan(size, dtype) for dtype in itertools.islice(self._other, 1)]


def _plan_timed(spec: Spec, size: Size, turns: _Turns) -> list[Plan]:
    dtype = spec.timed_dtype
    if spec.call_bytes(size, dtype) > LARGE_CASE_BYTES:
        return [(size, dtype, ordinary(spec)), turns.plan(size, dtype)]
    twice = [(size, dtype, ordinary(spec))] * 2
    return [*twice, turns.plan(size, dtype), turns.plan(size, dtype), *turns.plan_other(size)]


def _plan_covering(
    sizes: Sequence[Size], dtype: str, turns: _Turns, least_extent: int = 1
) -> list[Plan]:
    """Every size, and every distribution at a size that is large enough to show it."""
    ample = [
        size
        for size in sizes
        if _elements(size) >= AMPLE_ELEMENTS and min(size.extents) >= least_extent
    ] or list(sizes)
    # as many draws as there are distributions, one after the other, deal each of them
    repeated = itertools.islice(itertools.cycle(ample), max(len(ample), turns.count))
    rest = (size for size in sizes if size not in ample)
    return [turns.plan(size, dtype) for size in (*repeated, *rest)]


def _elements(size: Size) -> int:
    return math.prod(size.extents)


def _hidden_size(spec: Spec, pattern: str, hidden: HiddenSizes, secret: random.Random) -> Size:
    widest = max(spec.dtypes, key=ITEMSIZE_BYTES.__getitem__)
    for _ in range(DRAWS_OF_A_SIZE):
        size = Size(axes=spec.axes, extents=_extents(spec, pattern, hidden, secret))
        if spec.call_bytes(size, widest) <= hidden.limit_bytes:
            return size
    raise OperationError(
        f"no hidden size of pattern {pattern!r} was found within {hidden.limit_bytes} bytes;"
        " look at max_extents and the shapes in spec.py."
    )


def _extents(
    spec: Spec, pattern: str, hidden: HiddenSizes, secret: random.Random
) -> tuple[int, ...]:
    last = len(spec.axes) - 1
    single = secret.randrange(len(spec.axes))
    extents = []
    for index, axis in enumerate(spec.axes):
        low, high = hidden.moderate
        if pattern in ("long_thin", "short_wide"):
            is_long = index == (0 if pattern == "long_thin" else last)
            low, high = hidden.long if is_long else hidden.thin
        elif pattern == "single" and index == single:
            low = high = 1
        high = min(high, spec.max_extents[axis])
        least = spec.min_hidden_extents.get(axis, 1)
        # evenly over the magnitudes, so that small extents come as often as large ones
        value = round(math.exp(secret.uniform(math.log(min(low, high)), math.log(high))))
        if pattern in ("prime", "single"):
            value = next((n for n in range(value, 1, -1) if _is_prime(n)), 1)
        elif pattern in ("power", "one_off"):
            value = 1 << (value.bit_length() - 1)
        if pattern == "one_off":
            value = min(high, max(1, value + secret.choice((-1, 1))))
        extents.append(max(value, least))
    return tuple(extents)


def _is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def _randn(shape: tuple[int, ...], generator: torch.Generator, device: str) -> torch.Tensor:
    return torch.randn(shape, generator=generator, device=device)


def _rand(shape: tuple[int, ...], generator: torch.Generator, device: str) -> torch.Tensor:
    return torch.rand(shape, generator=generator, device=device)


def _signs(shape: tuple[int, ...], generator: torch.Generator, device: str) -> torch.Tensor:
    return _randn(shape, generator, device).sign_().add_(0.5).sign_()


def _per_row(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-1], 1)


def _column(shape: tuple[int, ...], generator: torch.Generator, device: str) -> torch.Tensor:
    """One column of each row."""
    return torch.randint(shape[-1], _per_row(shape), generator=generator, device=device)


def _normal(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator, device: str
) -> torch.Tensor:
    return _randn(shape, generator, device).to(dtype)


def _shifted(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator, device: str
) -> torch.Tensor:
    """A mean far from zero: defeats E[x^2] - E[x]^2 and a softmax without the maximum."""
    sign = _signs((1,), generator, device)
    return _randn(shape, generator, device).add_(OFFSET * sign).to(dtype)


def _raised(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator, device: str
) -> torch.Tensor:
    """A mean some way from zero: defeats E[x^2] - E[x]^2, where shifted would defeat everybody."""
    offset = RAISED if dtype is torch.float32 else RAISED_IN_16_BITS
    sign = _signs((1,), generator, device)
    return _randn(shape, generator, device).add_(offset * sign).to(dtype)


def _large(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator, device: str
) -> torch.Tensor:
    """Values whose exp overflows."""
    return _randn(shape, generator, device).mul_(LARGE_SCALE).to(dtype)


def _tiny(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator, device: str
) -> torch.Tensor:
    """Values whose squares underflow."""
    return _randn(shape, generator, device).mul_(TINY_SCALE.get(dtype, 1e-30)).to(dtype)


def _constant(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator, device: str
) -> torch.Tensor:
    """One value in each row."""
    return _randn(_per_row(shape), generator, device).expand(shape).to(dtype).contiguous()


def _sorted(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator, device: str
) -> torch.Tensor:
    """Rows in order, rising or falling: a running maximum changes always or never."""
    rising = _randn(shape, generator, device).sort(dim=-1).values
    # the negative of a sorted normal is the falling one
    return rising.mul_(_signs((1,), generator, device)).to(dtype)


def _outlier(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator, device: str
) -> torch.Tensor:
    """One huge element in each row, of either sign."""
    values = _randn(shape, generator, device)
    huge = _signs(_per_row(shape), generator, device).mul_(OUTLIER)
    return values.scatter_(-1, _column(shape, generator, device), huge).to(dtype)


def _sparse(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator, device: str
) -> torch.Tensor:
    """Many zeros, and one dense row where there are several."""
    dense = _rand(shape, generator, device) < DENSE_SHARE
    rows = dense.view(-1, shape[-1])
    if len(rows) > 1:
        # a slice by a tensor of one index, so that a GPU need not wait for the host
        chosen = torch.randint(len(rows), (1,), generator=generator, device=device)
        rows.index_fill_(0, chosen, 1)
    return _randn(shape, generator, device).mul_(dense).to(dtype)


def _near_limit(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator, device: str
) -> torch.Tensor:
    """Values of either sign between half the dtype's largest finite value and just below it."""
    # a little below 1, since rounding to the dtype must not reach infinity
    fraction = _rand(shape, generator, device).mul_(0.49).add_(0.5)
    limit = min(torch.finfo(dtype).max, torch.finfo(torch.float32).max)
    return fraction.mul_(_signs(shape, generator, device)).mul_(limit).to(dtype)


def _minus_inf(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator, device: str
) -> torch.Tensor:
    """Some -inf, as a mask leaves them, but never a whole row."""
    masked = _rand(shape, generator, device) < MASKED_SHARE
    kept = torch.zeros(_per_row(shape), dtype=torch.bool, device=device)
    masked.scatter_(-1, _column(shape, generator, device), kept)
    return _randn(shape, generator, device).masked_fill_(masked, -math.inf).to(dtype)


def _speckled(value: float) -> Draw:
    """A few elements of one value, at least one."""

    def draw(
        shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator, device: str
    ) -> torch.Tensor:
        speckled = _rand(shape, generator, device) < SPECKLED_SHARE
        chosen = torch.randint(speckled.numel(), (1,), generator=generator, device=device)
        speckled.view(-1).index_fill_(0, chosen, 1)
        return _randn(shape, generator, device).masked_fill_(speckled, value).to(dtype)

    return draw


DISTRIBUTIONS: Mapping[str, Draw] = {
    "normal": _normal,
    "shifted": _shifted,
    "raised": _raised,
    "large": _large,
    "tiny": _tiny,
    "constant": _constant,
    "sorted": _sorted,
    "outlier": _outlier,
    "sparse": _sparse,
    "near_limit": _near_limit,
    "minus_inf": _minus_inf,
    "nan": _speckled(math.nan),
    "plus_inf": _speckled(math.inf),
}


def drawer(spec: Spec, size: Size, dtype: str, device: str) -> Callable[[str], list[Any]]:
    """Makes arguments of a distribution at a size, other ones each time, which nobody foresees."""

    def draw(distribution: str) -> list[Any]:
        case = Case(size=size, dtype=dtype, distribution=distribution, seed=secrets.choice(SEEDS))
        return make_arguments(spec, case, device)

    return draw
