"""Verdicts, intervals and estimators, on simulated rounds and on figures worked out by hand."""

import itertools

import numpy as np
import pytest

from tritonexp.errors import EvaluationError
from tritonexp.records import Clock, Interval, Outcome, Size, Timing
from tritonexp.statistics import (
    compare,
    geometric_mean,
    is_settled,
    median_interval,
    pass_at_k,
    proportion_interval,
)

SIZES = [Size(axes=("rows", "cols"), extents=(extent, extent)) for extent in (64, 128, 256, 512)]
MARGIN = 0.01


def timing(rounds_us, size=SIZES[0], clock=Clock.GRAPH):
    """A timing of these rounds."""
    rounds_us = tuple(float(value) for value in rounds_us)
    return Timing(
        size=size,
        dtype="float32",
        clock=clock,
        rounds_us=rounds_us,
        median_us=float(np.median(rounds_us)),
        interval_us=Interval(low=min(rounds_us), high=max(rounds_us)),
        host_us=None,
        referee_us=None,
        floor_us=None,
        floor_kind=None,
        fraction_of_ceiling=None,
    )


def noisy_sides(rng, rounds=24, slowdown=1.0):
    """Two sides with 1 % of noise, one round in twenty far out, and a drift that both share."""
    drift = 1 + 0.1 * np.linspace(0, 1, rounds) + 0.02 * rng.standard_normal(rounds).cumsum() / 5
    sides = []
    for factor in (slowdown, 1.0):
        noise = np.exp(0.01 * rng.standard_normal(rounds))
        outliers = np.where(rng.random(rounds) < 0.05, 1 + rng.exponential(0.5, rounds), 1.0)
        sides.append(50.0 * factor * drift * noise * outliers)
    return sides


def verdict(subject, reference, seed=0):
    """The comparison at one size."""
    return compare(
        "a", "b", [timing(subject)], [timing(reference)], SIZES[:1], Clock.GRAPH, MARGIN, seed
    )[0]


@pytest.mark.parametrize(
    ("ratio", "noise", "rounds", "settled"),
    [
        (1.0, 0.002, 20, True),  # wholly within the margin
        (1.03, 0.002, 20, True),
        (0.97, 0.002, 20, True),
        (1.01, 0.002, 20, False),  # on the margin
        (1.0, 0.05, 20, False),  # anywhere
        (1.03, 0.0, 3, False),  # too few for any interval
    ],
)
def test_settled_is_what_more_rounds_would_not_change(ratio, noise, rounds, settled):
    """An interval across the margin's edge is open, and so are few rounds however alike."""
    rng = np.random.default_rng(5)
    subject = 50.0 * np.exp(noise * rng.standard_normal(rounds))
    assert is_settled(list(subject), list(50.0 * ratio * np.ones(rounds)), MARGIN) is settled


def test_stopping_when_settled_does_not_make_false_verdicts():
    """A/A with looks after 24, 36, ... 96 rounds: at least 398 of 400 tie where each look stops."""
    rng = np.random.default_rng(7)
    ties = 0
    for seed in range(400):
        subject, reference = noisy_sides(rng, rounds=96)
        wanted = 24
        while wanted < 96 and not is_settled(subject[:wanted], reference[:wanted], MARGIN):
            wanted += 12
        ties += verdict(subject[:wanted], reference[:wanted], seed).outcome is Outcome.TIE
    assert ties >= 398


def test_kernel_against_itself_ties():
    """At least 398 of 400 A/A comparisons tie, with noise, outliers and a shared drift."""
    rng = np.random.default_rng(20261122)
    outcomes = [verdict(*noisy_sides(rng), seed=seed).outcome for seed in range(400)]
    assert outcomes.count(Outcome.TIE) >= 398


@pytest.mark.parametrize(
    ("slowdown", "outcome"), [(1.03, Outcome.SLOWER), (1 / 1.03, Outcome.FASTER)]
)
def test_three_percent_is_seen(slowdown, outcome):
    """At 30 rounds a difference of 3 % is told in at least 95 of 100 comparisons."""
    rng = np.random.default_rng(3)
    found = [
        verdict(*noisy_sides(rng, rounds=30, slowdown=slowdown), seed=seed).outcome
        for seed in range(100)
    ]
    assert found.count(outcome) >= 95


def test_interval_covers_the_true_ratio():
    """The 95 % interval holds the true ratio in 90 to 99 % of 300 simulations."""
    rng = np.random.default_rng(5)
    held = 0
    for seed in range(300):
        interval = verdict(*noisy_sides(rng, slowdown=1.25), seed=seed).interval
        held += interval.low <= 1 / 1.25 <= interval.high
    assert 270 <= held <= 297


def test_pairing_cancels_shared_drift():
    """Rounds that vary tenfold on both sides alike give the exact ratio."""
    drift = np.geomspace(10, 100, 20)
    found = verdict(drift, 2 * drift)
    assert found.speedup == pytest.approx(2.0)
    assert found.interval == Interval(low=pytest.approx(2.0), high=pytest.approx(2.0))
    assert found.outcome is Outcome.FASTER


@pytest.mark.parametrize(
    ("ratio", "outcome"),
    [
        (1.009, Outcome.TIE),
        (1.011, Outcome.FASTER),
        (1 / 1.009, Outcome.TIE),
        (1 / 1.011, Outcome.SLOWER),
    ],
)
def test_margin_decides_between_tie_and_verdict(ratio, outcome):
    """Noise-free ratios within 1 % tie, beyond it they do not, alike on both sides of one."""
    assert verdict([10.0] * 20, [10.0 * ratio] * 20).outcome is outcome


def test_interval_that_touches_the_margin_ties():
    """A median beyond the margin is a tie while its interval reaches into it."""
    found = verdict([10.0] * 20, [10.05] * 9 + [10.4] * 11)
    assert found.speedup > 1 + MARGIN
    assert found.outcome is Outcome.TIE


def test_sizes_are_summed_up_by_the_geometric_mean():
    """Speed-ups of 2 and 8 make 4, with an interval that holds it, listed last under size None."""
    rng = np.random.default_rng(1)
    subject, reference = [], []
    for size, ratio in zip(SIZES[:2], (2.0, 8.0), strict=True):
        noise = np.exp(0.01 * rng.standard_normal(30))
        subject.append(timing([10.0] * 30, size))
        reference.append(timing(10.0 * ratio * noise, size))
    *per_size, whole = compare("a", "b", subject, reference, SIZES[:2], Clock.GRAPH, MARGIN, seed=0)
    assert [item.size for item in per_size] == SIZES[:2]
    assert whole.size is None
    assert whole.speedup == pytest.approx(geometric_mean([item.speedup for item in per_size]))
    assert whole.speedup == pytest.approx(4.0, rel=0.01)
    assert whole.interval.low < whole.speedup < whole.interval.high
    # two sizes tell more than one
    widths = [item.interval.high / item.interval.low for item in (*per_size, whole)]
    assert widths[2] < max(widths[:2])


def test_missing_size_fails_the_sum_and_names_the_size():
    """A size that one side lacks is failed there and in the sum, never dropped."""
    subject = [timing([10.0] * 20, size) for size in SIZES[:2]]
    reference = [timing([20.0] * 20, SIZES[0])]
    first, second, whole = compare(
        "candidate", "liger", subject, reference, SIZES[:2], Clock.GRAPH, MARGIN, seed=0
    )
    assert first.outcome is Outcome.FASTER
    for failed in (second, whole):
        assert failed.outcome is Outcome.FAILED
        assert failed.speedup is None
        assert failed.interval is None
        assert "128x128" in failed.reason
        assert "liger" in failed.reason
        assert "candidate" not in failed.reason
    assert "64x64" not in whole.reason


def test_no_times_at_all_fail_everywhere():
    """Two sides without times give failures, not an error."""
    found = compare("a", "b", [], [], SIZES, Clock.GRAPH, MARGIN, seed=0)
    assert [item.outcome for item in found] == [Outcome.FAILED] * 5
    assert "a and b" in found[0].reason


def test_times_of_another_clock_do_not_count():
    """A time by events is not compared with one by graph replay."""
    subject, reference = [timing([10.0] * 20, clock=Clock.EVENTS)], [timing([20.0] * 20)]
    found = compare("a", "b", subject, reference, SIZES[:1], Clock.GRAPH, MARGIN, seed=0)
    assert [item.outcome for item in found] == [Outcome.FAILED, Outcome.FAILED]


@pytest.mark.parametrize(
    ("subject", "reference", "said"),
    [
        ([10.0] * 19 + [0.0], [10.0] * 20, "not positive and finite"),
        ([10.0] * 20, [10.0] * 19 + [float("nan")], "not positive and finite"),
        ([10.0], [10.0], "at least 2 rounds"),
    ],
)
def test_rounds_that_cannot_be_paired_are_an_error(subject, reference, said):
    """Broken times and a single round are refused."""
    with pytest.raises(EvaluationError, match=said):
        verdict(subject, reference)


def test_rounds_of_one_side_alone_do_not_count():
    """Where more were taken of the subject and somebody else, the first ones belong together."""
    shared = [10.0, 11.0] * 10
    found = verdict([*shared, *[5.0] * 20], shared)
    assert found == verdict(shared, shared)
    assert found.speedup == 1


def test_comparing_over_no_sizes_is_an_error():
    """A mean over nothing is refused."""
    with pytest.raises(EvaluationError, match="no sizes"):
        compare("a", "b", [], [], [], Clock.GRAPH, MARGIN, seed=0)


def test_seed_repeats_the_interval():
    """The same rounds and seed give the same figures; the seed does reach the resampling."""
    sides = noisy_sides(np.random.default_rng(8))
    assert verdict(*sides, seed=4) == verdict(*sides, seed=4)
    assert len({verdict(*sides, seed=seed).interval for seed in range(20)}) > 1


def test_median_interval_holds_the_median():
    """The interval lies around the median, within the values."""
    values = np.random.default_rng(0).lognormal(0, 0.1, 25)
    interval = median_interval(values.tolist(), seed=0)
    assert min(values) <= interval.low < np.median(values) < interval.high <= max(values)


def test_median_interval_of_constant_values_is_a_point():
    """Rounds that do not vary give an interval without width, not NaN."""
    assert median_interval([3.0] * 20, seed=0) == Interval(low=3.0, high=3.0)


def test_median_interval_of_one_value_is_an_error():
    """One value has no spread to tell."""
    with pytest.raises(EvaluationError, match="at least 2"):
        median_interval([3.0], seed=0)


def test_geometric_mean_of_reciprocals_is_one():
    """Twice as fast and half as fast cancel."""
    assert geometric_mean([2.0, 0.5]) == pytest.approx(1.0)


@pytest.mark.parametrize("values", [[], [1.0, 0.0], [1.0, -1.0], [float("nan")], [float("inf")]])
def test_geometric_mean_refuses_what_has_none(values):
    """Nothing, zero, negative and non-finite figures are refused."""
    with pytest.raises(ValueError, match="positive"):
        geometric_mean(values)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 0, 1), (5, 2, 1), (5, 2, 3), (6, 3, 4), (4, 4, 2)])
def test_pass_at_k_is_the_share_of_subsets_that_hold_a_pass(n, c, k):
    """The estimate equals counting every k-subset of n samples."""
    samples = [True] * c + [False] * (n - c)
    subsets = list(itertools.combinations(samples, k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, 1, 4), (3, -1, 1), (3, 1, 0), (0, 0, 1)])
def test_pass_at_k_refuses_impossible_counts(n, c, k):
    """More passes than samples, or more draws than samples, are refused."""
    with pytest.raises(ValueError, match="pass@k"):
        pass_at_k(n, c, k)


def test_proportion_interval_is_wilsons():
    """8 of 10 gives the textbook interval; 0 of 5 starts at zero and does not end there."""
    interval = proportion_interval(8, 10)
    assert (interval.low, interval.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    none = proportion_interval(0, 5)
    assert none.low == 0.0
    assert 0.4 < none.high < 0.5


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_proportion_interval_refuses_impossible_counts(successes, n):
    """A share of nothing, or of more than all, is refused."""
    with pytest.raises(ValueError, match="a share"):
        proportion_interval(successes, n)
