"""How sure a figure is: intervals, verdicts of paired timings, means of ratios, shares of samples.

Comparisons pair the rounds of two implementations, so that drift which both sides share cancels.
Rounds are taken as independent draws.

Does not cover noise that lasts over many rounds of one side only (the referee shuffles the turns
against it), nor corrections for many comparisons at once.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from tritonexp.errors import EvaluationError
from tritonexp.records import Clock, Comparison, Interval, Outcome, Size, Timing

CONFIDENCE = 0.95
# of a look at rounds that may be the last: each look is one more chance to err
LOOK_CONFIDENCE = 0.99
RESAMPLES = 2_000
LEAST_ROUNDS = 2  # one value says nothing of its spread


def median_interval(values: Sequence[float], seed: int) -> Interval:
    """The 95 % bootstrap interval of the median; raises EvaluationError below two values."""
    _, (interval,) = _medians_and_intervals([values], seed)
    return interval


def paired(
    subject_us: Sequence[float], reference_us: Sequence[float], margin: float, seed: int
) -> tuple[float, Interval, Outcome]:
    """The speed-up of a subject in paired rounds, its interval, and what it is called."""
    ratios = _ratios(subject_us, reference_us)
    (speedup,), (interval,) = _medians_and_intervals([ratios], seed)
    return speedup, interval, _outcome(interval, margin)


def compare(
    subject: str,
    reference: str,
    subject_timings: Sequence[Timing],
    reference_timings: Sequence[Timing],
    sizes: Sequence[Size],
    clock: Clock,
    margin: float,
    seed: int,
) -> list[Comparison]:
    """Compare two implementations at every size, and last over all sizes (size None).

    Rounds of one index are taken to belong together, and what one side alone has of them does not
    count, nor do times of another clock. Where a side has no time the comparison FAILED, and so did
    the one over all sizes. Raises EvaluationError for timings that cannot be paired.
    """
    if not sizes:
        raise EvaluationError(
            f"{subject} cannot be compared with {reference} over no sizes; give at least one."
        )
    numerators = {item.size: item for item in reference_timings if item.clock is clock}
    denominators = {item.size: item for item in subject_timings if item.clock is clock}
    lacking = {
        size: " and ".join(
            name
            for name, times in ((subject, denominators), (reference, numerators))
            if size not in times
        )
        for size in sizes
    }
    timed = [size for size in sizes if not lacking[size]]
    ratios = [paired_ratios(denominators[size], numerators[size]) for size in timed]
    speedups, intervals = _medians_and_intervals(ratios, seed) if timed else ([], [])
    found = dict(zip(timed, zip(speedups, intervals, strict=False), strict=False))

    def comparison(
        size: Size | None, figures: tuple[float, Interval] | None, reason: str
    ) -> Comparison:
        speedup, interval = figures or (None, None)
        return Comparison(
            subject=subject,
            reference=reference,
            clock=clock,
            size=size,
            speedup=speedup,
            interval=interval,
            outcome=Outcome.FAILED if interval is None else _outcome(interval, margin),
            reason=reason,
        )

    per_size = [
        comparison(
            size,
            found.get(size),
            f"{lacking[size]}: no {clock} time at {size.label}" if lacking[size] else "",
        )
        for size in sizes
    ]
    if len(timed) == len(sizes):
        return [*per_size, comparison(None, (speedups[-1], intervals[-1]), "")]
    gaps = "; ".join(f"{size.label} ({lacking[size]})" for size in sizes if lacking[size])
    reason = f"no {clock} time at {gaps}, so there is no mean over all sizes"
    return [*per_size, comparison(None, None, reason)]


def is_settled(subject_us: Sequence[float], reference_us: Sequence[float], margin: float) -> bool:
    """Whether paired rounds leave no doubt which side of the margin their ratio's median is on.

    That is, whether its 99 % interval by order statistics lies wholly beyond the margin, or within.
    """
    from scipy.stats import quantile_test

    ratios = _ratios(subject_us, reference_us)
    if len(ratios) < LEAST_ROUNDS:
        return False
    found = quantile_test(ratios, p=0.5).confidence_interval(confidence_level=LOOK_CONFIDENCE)
    # nan where there are too few for a bound
    if math.isnan(found.low) or math.isnan(found.high):
        return False
    interval = Interval(low=float(found.low), high=float(found.high))
    is_within = interval.low >= 1 / (1 + margin) and interval.high <= 1 + margin
    return is_within or _outcome(interval, margin) is not Outcome.TIE


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive figures; raises ValueError for none, or one that is not."""
    if not values or not all(0 < value < math.inf for value in values):
        raise ValueError(f"a geometric mean needs positive, finite figures; got {list(values)}")
    return statistics.geometric_mean(values)


def pass_at_k(n: int, c: int, k: int) -> float:
    """The unbiased estimate that one of k samples passes, when c of n did.

    One minus the share of the k-subsets of the n samples that hold none of the c.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n; got n={n}, c={c}, k={k}")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def proportion_interval(successes: int, n: int) -> Interval:
    """The 95 % Wilson interval of a share."""
    from scipy.stats import binomtest

    if not (n >= 1 and 0 <= successes <= n):
        raise ValueError(f"a share needs n >= 1 and 0 <= successes <= n; got {successes} of {n}")
    found = binomtest(successes, n).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return Interval(low=float(found.low), high=float(found.high))


def _outcome(interval: Interval, margin: float) -> Outcome:
    # the reciprocal below one: swapping the sides then swaps the verdict
    if interval.low > 1 + margin:
        return Outcome.FASTER
    if interval.high < 1 / (1 + margin):
        return Outcome.SLOWER
    return Outcome.TIE


def paired_ratios(subject: Timing, reference: Timing) -> list[float]:
    """The speed-up of a subject in each round that both sides have; it may be that one has more.

    Raises EvaluationError for a round that took no time.
    """
    numerators, denominators = reference.rounds_us, subject.rounds_us
    if not all(0 < time < math.inf for time in (*numerators, *denominators)):
        raise EvaluationError(
            f"at {subject.size.label} a round took a time that is not positive and finite;"
            " a round without a time must be measured again."
        )
    return _ratios(denominators, numerators)


def _ratios(subject_us: Sequence[float], reference_us: Sequence[float]) -> list[float]:
    """Of the rounds that both have: rounds beyond those asked for are taken of some alone."""
    return [above / below for above, below in zip(reference_us, subject_us, strict=False)]


def _medians_and_intervals(
    samples: Sequence[Sequence[float]], seed: int
) -> tuple[list[float], list[Interval]]:
    """The median of each sample and, last when there are several, their geometric mean.

    All intervals come from one bootstrap, each sample resampled on its own.
    """
    import numpy as np
    from scipy.stats import bootstrap

    few = [len(sample) for sample in samples if len(sample) < LEAST_ROUNDS]
    if few:
        raise EvaluationError(
            f"an interval needs at least {LEAST_ROUNDS} rounds, but there are {few[0]};"
            " raise timing.rounds."
        )

    def statistic(*resampled: Any, axis: int = -1) -> Any:
        medians = np.stack([np.median(sample, axis=axis) for sample in resampled])
        # a lone sample may be a plain set of values, negative ones too, and needs no mean
        if len(resampled) == 1:
            return medians
        return np.concatenate([medians, np.exp(np.log(medians).mean(axis=0, keepdims=True))])

    data = [np.asarray(sample, dtype=np.float64) for sample in samples]
    # percentile, since the bias-corrected interval is undefined for constant rounds
    interval = bootstrap(
        data,
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    bounds = zip(interval.low.tolist(), interval.high.tolist(), strict=True)
    return statistic(*data).tolist(), [Interval(low=low, high=high) for low, high in bounds]
