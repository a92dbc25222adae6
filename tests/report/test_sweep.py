"""Several records side by side, with failures counted."""

import dataclasses
import math

import builders as build
import pytest

from tritonexp import report
from tritonexp.records import Status
from tritonexp.report import groups


def good(seed=0, factor=1.0, **choices):
    """A correct job on the H200."""
    evaluation = build.scaled(build.gpu_evaluation(), factor)
    return build.record(evaluation, seed=seed, study_id=f"study-{seed}-{choices}", **choices)


def bad(seed=0, **choices):
    """A job whose kernel was wrong."""
    subject = build.trial("candidate", status=Status.INCORRECT, reason="wrong")
    return build.record(
        build.gpu_evaluation(candidate=subject),
        seed=seed,
        study_id=f"study-{seed}-{choices}",
        reason="wrong at 3x257",
        **choices,
    )


def test_failures_count_in_share_and_score(tmp_path):
    """One failure of two: half correct, half the score, and the speed-up of the correct one."""
    figures = report.write_comparison([good(0), bad(1)], "sweep-1", tmp_path)
    prefix = "softmax/recorded/baseline_only"
    assert (figures["jobs"], figures["correct"], figures["share_correct"]) == (2, 1, 0.5)
    assert figures[f"{prefix}/score"] == pytest.approx(figures[f"{prefix}/speedup_vs_baseline"] / 2)
    text = (tmp_path / "comparison.md").read_text()
    assert "1 of 2: 0.50 [0.09, 0.91]" in text
    assert "INCORRECT 1" in text
    assert "wrong at 3x257" in text
    assert (tmp_path / "comparison.png").stat().st_size > 10_000


def test_all_failed_scores_zero_without_a_speedup(tmp_path):
    """A model that never succeeds has a score of 0 and no speed-up."""
    figures = report.write_comparison([bad(0), bad(1)], "sweep-1", tmp_path)
    assert figures["softmax/recorded/baseline_only/score"] == 0
    assert not any("speedup" in name for name in figures)


def test_group_pools_by_geometric_mean():
    """The speed-up of a group is the geometric mean of its jobs, inside its interval."""
    (group,) = groups.group([good(0), good(1, factor=1.1), good(2, factor=1.21)])
    speedups = [job.versus_baseline.speedup for job in group.jobs]
    value, interval = group.speedup("baseline")
    assert value == pytest.approx(math.prod(speedups) ** (1 / 3))
    assert interval.low < min(speedups) < max(speedups) < interval.high


def test_single_job_keeps_its_own_interval():
    """One job: the interval is the measurement's."""
    (group,) = groups.group([good(0)])
    own = group.jobs[0].versus_baseline
    assert group.speedup("baseline") == (own.speedup, own.interval)


def test_varying_setting_splits_groups():
    """Jobs of different sizes are not pooled; those of different seeds are."""
    found = groups.group([good(0), good(1), good(0, sizes="smoke")])
    assert [(item.setting, len(item.jobs)) for item in found] == [
        ("sizes=smoke", 1),
        ("sizes=study", 2),
    ]


def test_recorded_speedups_are_marked_and_named_apart(tmp_path):
    """What the sweep did not measure carries a dagger and another metric name."""
    record = build.record(
        build.interpreter_evaluation(), recorded_evaluation=build.gpu_evaluation()
    )
    figures = report.write_comparison([record], "sweep-1", tmp_path)
    assert "softmax/recorded/baseline_only/recorded_speedup_vs_baseline" in figures
    assert "softmax/recorded/baseline_only/speedup_vs_baseline" not in figures
    text = (tmp_path / "comparison.md").read_text()
    assert "†" in text
    assert "recorded on NVIDIA H200, 2026-11-22" in text


def test_untimed_sweep_has_no_speedup_and_no_score(tmp_path):
    """Correct but never timed: dashes, and no score that would look like a failure."""
    figures = report.write_comparison(
        [build.record(build.interpreter_evaluation())], "sweep-1", tmp_path
    )
    assert set(figures) == {
        "jobs",
        "correct",
        "share_correct",
        "cost_usd",
        "softmax/recorded/baseline_only/share_correct",
    }


def test_unknown_cost_is_a_dash(tmp_path):
    """A recorded response has no cost, so the sum is unknown."""
    attempt = good(0).attempt
    free = dataclasses.replace(attempt.completion, cost_usd=None, usage=None, latency_s=None)
    record = dataclasses.replace(good(0), attempts=(dataclasses.replace(attempt, completion=free),))
    figures = report.write_comparison([record, good(1)], "sweep-1", tmp_path)
    assert "cost_usd" not in figures
    assert "- **Cost:** -" in (tmp_path / "comparison.md").read_text()


def test_metric_names_suit_mlflow(tmp_path):
    """Names hold no brackets, and every figure is finite."""
    jobs = [good(0, prompt=prompt, sizes=size) for prompt in "ab" for size in ("smoke", "study")]
    figures = report.write_comparison(jobs, "sweep-1", tmp_path)
    assert all(not set(name) & set("[]=†") for name in figures)
    assert all(math.isfinite(value) for value in figures.values())


def test_empty_sweep_is_refused(tmp_path):
    """A sweep without records is named in the error."""
    with pytest.raises(ValueError, match="sweep-9"):
        report.write_comparison([], "sweep-9", tmp_path)
