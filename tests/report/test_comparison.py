"""Several records side by side, with failures counted."""

import dataclasses
import math
import re

import builders as build
import pytest

from tritonexp import report
from tritonexp.records import Status
from tritonexp.report import document, groups


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


def test_untimed_failure_of_no_recorded_answer_has_no_score(tmp_path):
    """Beside files that are right and have no score, a wrong one has none either."""
    record = build.record(build.interpreter_evaluation(status=Status.INCORRECT, failing=3))
    assert "softmax/recorded/baseline_only/score" in report.write_comparison(
        [record], "sweep-1", tmp_path
    )
    mine = dataclasses.replace(record.attempt.completion, origin="file")
    attempt = dataclasses.replace(record.attempt, completion=mine)
    record = dataclasses.replace(record, attempts=(attempt,))
    figures = report.write_comparison([record], "sweep-1", tmp_path)
    assert not any(name.endswith("score") for name in figures)


def test_recorded_figures_of_other_sizes_say_so(tmp_path):
    """What was recorded at four sizes is no figure of the one that was asked for."""
    own = build.interpreter_evaluation()
    for sizes, is_told in ((build.SIZES, False), (build.SIZES[:1], True)):
        record = build.record(
            dataclasses.replace(own, sizes=sizes), recorded_evaluation=build.gpu_evaluation()
        )
        report.write_comparison([record], "sweep-1", tmp_path)
        text = (tmp_path / "comparison.md").read_text()
        told = "at 1024x1024, 2048x2048, 4096x4096, 8192x1024 and not at the sizes asked for"
        assert (told in text) is is_told


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


def several(*statuses, chosen=0, evaluation=None, strategy="best_of_n", **choices):
    """A job of several answers, each of which ended so."""
    record = build.record(
        evaluation or build.interpreter_evaluation(), strategy=strategy, **choices
    )
    attempts = tuple(
        dataclasses.replace(
            record.attempt,
            number=number,
            status=status,
            reason="" if status is Status.CORRECT else f"{status} for a reason",
            evaluation=record.evaluation if status is Status.CORRECT else None,
        )
        for number, status in enumerate(statuses, start=1)
    )
    return dataclasses.replace(record, attempts=attempts, chosen=chosen)


def comparison_of(tmp_path, *records, not_done=()):
    """The text of a sweep's comparison."""
    report.write_comparison(records, "sweep-1", tmp_path, not_done)
    return (tmp_path / "comparison.md").read_text()


def test_jobs_that_were_not_done_are_counted_and_named(tmp_path):
    """One of three: in the head, and with its sentence, on one line, in a section of its own."""
    missing = "softmax/opus/baseline_only: no key in\n<KEY>; set it."
    text = comparison_of(tmp_path, good(0), good(1), not_done=[missing])
    assert "- **Not done:** 1 of 3; see below why" in text
    section = text.partition("## Not done")[2]
    assert "- softmax/opus/baseline_only: no key in \\<KEY>; set it." in section
    figures = report.write_comparison([good(0)], "sweep-1", tmp_path, [missing])
    assert (figures["jobs"], figures["not_done"]) == (1, 1)


def test_complete_sweep_speaks_of_no_missing_job(tmp_path):
    """Neither head nor section where all was done."""
    assert "Not done" not in comparison_of(tmp_path, good(0))


def test_failed_attempts_that_were_not_chosen_are_listed(tmp_path):
    """A correct job's TRUNCATED and INCORRECT answers stand with number and reason."""
    job = several(Status.TRUNCATED, Status.CORRECT, Status.INCORRECT, chosen=1)
    table = comparison_of(tmp_path, job).partition("## Failures")[2]
    name = "softmax/recorded/baseline_only"
    rows = [line for line in table.splitlines() if line.startswith(f"| {job.study_id}")]
    assert rows == [
        f"| {job.study_id} | {name} | 1 of 3 | TRUNCATED | TRUNCATED for a reason |",
        f"| {job.study_id} | {name} | 3 of 3 | INCORRECT | INCORRECT for a reason |",
    ]


def test_failed_attempt_that_stands_for_its_job_is_marked(tmp_path):
    """Where all failed, one of the rows is the job's."""
    table = comparison_of(tmp_path, several(Status.NO_CODE, Status.INCORRECT, chosen=1))
    assert "| 1 of 2 | NO_CODE |" in table
    assert "| 2 of 2 (chosen) | INCORRECT |" in table


def test_correct_sweep_has_no_failures(tmp_path):
    """No section where every attempt was correct."""
    assert "## Failures" not in comparison_of(tmp_path, good(0))


def test_untimed_best_of_n_says_that_the_first_was_taken(tmp_path):
    """In the comparison and in the report; with times, neither says so."""
    untimed = several(Status.CORRECT, Status.CORRECT)
    timed = several(Status.CORRECT, Status.CORRECT, evaluation=build.gpu_evaluation())
    told = "nothing was timed, so the first correct answer was taken, not the fastest"
    assert f"in 1 job of strategy best_of_n {told}" in comparison_of(tmp_path, untimed)
    assert told not in comparison_of(tmp_path, timed)
    text = document.render(untimed)
    assert "Here nothing was timed, so the first correct one was taken" in text
    assert "the first correct answer stands for the run, not the fastest" in text
    assert "first correct" not in document.render(timed)
    one = several(Status.CORRECT, strategy="single_shot")
    assert "first correct" not in document.render(one)
    known = dataclasses.replace(untimed, recorded_evaluation=build.gpu_evaluation())
    assert "first correct" not in document.render(known)


def test_verdicts_are_counted_against_the_expert_too(tmp_path):
    """Faster than the baseline, and slower than the expert."""
    text = comparison_of(tmp_path, good(0, factor=2.0), bad(1))
    head, row = (
        next(line for line in text.splitlines() if line.startswith(start)).split(" | ")
        for start in ("| operation", "| softmax")
    )
    cells = dict(zip(head, row, strict=True))
    assert cells["vs baseline: faster / tie / slower / none"] == "1 / 0 / 0 / 1"
    assert cells["vs expert: faster / tie / slower / none"] == "0 / 0 / 1 / 1"


def test_errors_say_where_they_were_measured(tmp_path):
    """An interpreter's error beside a GPU's figures is not taken for the GPU's."""
    recorded = build.record(
        build.interpreter_evaluation(), recorded_evaluation=build.gpu_evaluation()
    )
    assert "| 1.25 (interpreter) |" in comparison_of(tmp_path, recorded)
    assert "| 1.25 (GPU) |" in comparison_of(tmp_path, good(0))


def test_comparison_explains_its_ratios(tmp_path):
    """0.9x (slower) cannot be taken for slower by 0.9."""
    text = comparison_of(tmp_path, good(0, factor=2.0))
    assert "above 1x means that the generated kernel is faster" in text
    assert re.search(r"0\.\d+x \[[\d., ]+\] \(slower\)", text)
