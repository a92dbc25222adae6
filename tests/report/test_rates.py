"""How often a model's answers are right, and fast."""

import dataclasses

import builders as build
import pytest

from tritonexp import report
from tritonexp.records import Interval, Outcome, Status
from tritonexp.report import groups, rates


def good(seed=0, factor=1.0, **choices):
    """A correct job on the H200."""
    evaluation = build.scaled(build.gpu_evaluation(), factor)
    return build.record(evaluation, seed=seed, study_id=f"study-{seed}-{choices}", **choices)


def bad(seed=0, **choices):
    """A job whose kernel was wrong."""
    subject = build.trial("candidate", status=Status.INCORRECT, reason="wrong")
    evaluation = build.gpu_evaluation(candidate=subject)
    return build.record(evaluation, seed=seed, study_id=f"study-{seed}-{choices}", **choices)


def correct(group):
    """Which answers were right."""
    return tuple(answer.correct for answer in rates.answers_of(group))


def asked(*statuses, **choices):
    """A job of a model that was asked so many times; the first answer was chosen."""
    record = good(**choices)
    attempts = tuple(
        dataclasses.replace(
            record.attempt,
            number=number,
            status=status,
            completion=build.completion("an answer", sample=None),
        )
        for number, status in enumerate(statuses, start=1)
    )
    return dataclasses.replace(record, attempts=attempts)


def test_pass_at_k_counts_the_answers_that_were_not_chosen(tmp_path):
    """Two of four answers of one job are right: 1 - 1/6 for two draws, certain for three."""
    right, wrong = Status.CORRECT, Status.INCORRECT
    jobs = [asked(right, wrong, right, Status.TRUNCATED), good(seed=1, prompt="with_hints")]
    report.write_comparison(jobs, "sweep-1", tmp_path)
    text = (tmp_path / "comparison.md").read_text()
    table = text.partition("An answer is a model's")[2].partition("Over all operations")[0]
    assert "| correct answers | pass@2 | pass@3 |\n" in table
    assert "| 2 of 4: 0.50 [0.15, 0.85] | 0.83 | 1.00 |" in table
    # a single answer has nothing to estimate from
    assert "with_hints" not in table


def test_samples_of_a_group_are_pooled_and_recorded_ones_count_once(tmp_path):
    """Jobs of other seeds add answers of an API, but only repeat a recorded one."""
    right, wrong = Status.CORRECT, Status.INCORRECT
    (group,) = groups.group([asked(right, wrong), asked(right, seed=1)])
    assert correct(group) == (True, False, True)
    (group,) = groups.group([good(0), bad(1)])
    assert correct(group) == (False,)
    report.write_comparison([good(0), good(1)], "sweep-1", tmp_path)
    assert "pass@" not in (tmp_path / "comparison.md").read_text()


def test_a_file_is_no_sample():
    """A kernel file says nothing of how often a model is right."""
    record = asked(Status.CORRECT)
    mine = dataclasses.replace(record.attempt.completion, origin="file")
    attempt = dataclasses.replace(record.attempt, completion=mine)
    (group,) = groups.group([dataclasses.replace(record, attempts=(attempt,))])
    assert correct(group) == ()


def fast_row(tmp_path, *records):
    """The cells of the only row of the table of fast_p."""
    report.write_comparison(records, "sweep-1", tmp_path)
    text = (tmp_path / "comparison.md").read_text()
    table = text.partition("Over all operations")[2].partition("## ")[0].partition("Against")[0]
    head, _, *rows = [line for line in table.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in head.split("|")[3:-1]] == [
        "correct",
        "fast_1 over the baseline",
        "fast_2 over the baseline",
        "fast_1 over torch.compile",
        "fast_1 over the expert",
    ]
    (row,) = rows
    return [cell.strip().partition(":")[0] for cell in row.split("|")[3:-1]]


def answered(sample, record):
    """The job of another recorded answer."""
    completion = dataclasses.replace(record.attempt.completion, sample=sample)
    attempt = dataclasses.replace(record.attempt, completion=completion)
    return dataclasses.replace(record, attempts=(attempt,), study_id=f"study-{sample}")


def test_fast_p_counts_failures_and_pools_operations(tmp_path):
    """Of three answers to two operations one is wrong, and both others are fast."""
    speedup = groups.group([good()])[0].jobs[0].versus_baseline.speedup
    assert speedup > 2 * 1.01
    row = fast_row(
        tmp_path,
        answered(1, good()),
        answered(2, bad()),
        answered(3, good(operation="layer_norm")),
    )
    assert row[:3] == ["2 of 3", "2 of 3", "2 of 3"]
    # no job timed torch.compile
    assert row[3] == "-"
    assert row[4] == "2 of 3"


def test_fast_2_is_more_than_fast_1(tmp_path):
    """Half as fast as the others is over once the baseline's speed, not over twice."""
    speedup = groups.group([good()])[0].jobs[0].versus_baseline.speedup
    slow = good(factor=speedup / 1.5)
    assert groups.group([slow])[0].jobs[0].versus_baseline.speedup == pytest.approx(1.5)
    row = fast_row(tmp_path, answered(1, good()), answered(2, slow))
    assert row == ["2 of 2", "2 of 2", "1 of 2", "-", "1 of 2"]


@pytest.mark.parametrize(
    ("low", "expected"), [(1.02, True), (1.005, False), (0.9, False)], ids=["over", "tie", "below"]
)
def test_luck_is_not_fast(low, expected):
    """The whole interval counts, and a tie is no win."""
    (group,) = groups.group([good()])
    (answer,) = rates.answers_of(group)
    found = dataclasses.replace(answer.versus["baseline"], interval=Interval(low=low, high=3.0))
    answer = dataclasses.replace(answer, versus={**answer.versus, "baseline": found})
    assert answer.is_fast(1.0, "baseline") is expected


def test_what_was_not_timed_is_unknown_and_a_wrong_answer_is_not_fast(tmp_path):
    """An interpreter's run tells how often answers are right, and nothing of how fast."""
    untimed = build.record(build.interpreter_evaluation())
    row = fast_row(tmp_path, answered(1, untimed), answered(2, untimed))
    assert row == ["2 of 2", "-", "-", "-", "-"]
    row = fast_row(tmp_path, answered(1, bad()), answered(2, bad()))
    assert row == ["0 of 2", "0 of 2", "0 of 2", "-", "-"]


def test_operation_without_an_expert_is_left_out_of_who_beats_it(tmp_path):
    """Its answers count in all else."""
    alone = build.record(
        build.gpu_evaluation(names=("baseline", "torch")), operation="matmul", study_id="alone"
    )
    row = fast_row(tmp_path, answered(1, good()), answered(2, bad()), answered(3, alone))
    assert row == ["2 of 3", "2 of 3", "2 of 3", "-", "1 of 2"]
    table = (tmp_path / "comparison.md").read_text().partition("Against the human expert")[2]
    assert table.count("1 of 2: 0.50") == 2


def test_answers_win_tie_and_lose_against_the_expert(tmp_path):
    """Each share with its interval, and what was wrong beside them."""
    report.write_comparison([answered(1, good()), answered(2, bad())], "sweep-1", tmp_path)
    text = (tmp_path / "comparison.md").read_text()
    (group,) = groups.group([good()])
    assert group.jobs[0].versus_expert.outcome is Outcome.FASTER
    table = text.partition("Against the human expert")[2]
    assert "| faster | tie | slower | wrong or not timed |" in table
    half, none = "1 of 2: 0.50 [0.09, 0.91]", "0 of 2: 0.00 [0.00, 0.66]"
    assert f"| {half} | {none} | {none} | {half} |" in table
