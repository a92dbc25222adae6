"""Ratings follow from measured facts by the written rules."""

import dataclasses
import re

import builders as build
import pytest

from tritonexp.records import Status
from tritonexp.report import rubric
from tritonexp.report.code import analyse


def scores(record):
    """The four scores by aspect."""
    source = record.attempt.source
    return {item.aspect: item.score for item in rubric.rate(record, source and analyse(source))}


def test_good_kernel_is_rated_by_its_measurements():
    """Correct, faster than the expert, tidy, 0.72 of the ceiling: 5, 5, 5 and 4."""
    assert scores(build.record(build.gpu_evaluation())) == {
        "Correctness": 5,
        "Performance": 5,
        "Code quality": 5,
        "Optimisation": 4,
    }


@pytest.mark.parametrize(
    ("factor", "score"), [(1.0, 5), (1.15, 4), (1.4, 3), (2.0, 2), (3.0, 1), (12.0, 1)]
)
def test_performance_falls_with_the_speedup_over_the_expert(factor, score):
    """The slower the candidate, the lower the step."""
    evaluation = build.scaled(build.gpu_evaluation(), factor)
    assert scores(build.record(evaluation))["Performance"] == score


def test_performance_without_an_expert_follows_the_ceiling():
    """Two-way: the low end of the fraction of the ceiling decides."""
    evaluation = build.gpu_evaluation(names=("baseline", "torch"))
    assert scores(build.record(evaluation))["Performance"] == 3


def test_interpreter_alone_gives_no_performance():
    """Without times, performance and optimisation are not rated, and correctness stops at 3."""
    found = scores(build.record(build.interpreter_evaluation()))
    assert found["Performance"] is None
    assert found["Optimisation"] is None
    assert found["Correctness"] == 3


@pytest.mark.parametrize(("failing", "score"), [(1, 2), (7, 1), (36, 0)])
def test_failing_cases_lower_correctness(failing, score):
    """A wrong kernel is rated by the share of its cases that passed, and has no speed."""
    evaluation = build.interpreter_evaluation(status=Status.INCORRECT, failing=failing)
    found = scores(build.record(evaluation))
    assert found["Correctness"] == score
    assert found["Performance"] == 0


def test_dishonest_result_has_no_correctness():
    """All cases passed, but a time that cannot be: 0."""
    subject = build.trial("candidate", status=Status.IMPLAUSIBLE, reason="too fast")
    assert scores(build.record(build.gpu_evaluation(candidate=subject)))["Correctness"] == 0


def test_spills_lower_optimisation():
    """A spilling kernel loses one step."""
    compiled = build.interpreter_evaluation().candidate.compiled
    spilling = tuple(dataclasses.replace(item, spill_bytes=64) for item in compiled)
    evaluation = build.gpu_evaluation(candidate=build.trial("candidate", compiled=spilling))
    assert scores(build.record(evaluation))["Optimisation"] == 3


def test_untidy_source_loses_a_point_per_rule():
    """No docstring and an unmasked load cost one each."""
    lines = [line for line in build.CANDIDATE_SOURCE.splitlines() if not line.startswith('    """')]
    source = "\n".join(lines).replace(', mask=mask, other=-float("inf")', "")
    record = build.record(build.gpu_evaluation(), source=source)
    assert scores(record)["Code quality"] == 3


def note_of(record, aspect):
    """The note of one rating."""
    facts = analyse(record.attempt.source)
    return next(item.note for item in rubric.rate(record, facts) if item.aspect == aspect)


def test_faults_of_a_kind_cost_one_point_however_many():
    """Two loads without a mask are one kind of fault, and the rule says so."""
    load = 'tl.load(x_ptr + row * x_row_stride + columns, mask=mask, other=-float("inf"))'
    bare = "tl.load(x_ptr + columns)"
    source = build.CANDIDATE_SOURCE.replace(load, f"{bare} + {bare}")
    record = build.record(build.gpu_evaluation(), source=source)
    assert scores(record)["Code quality"] == 4
    assert note_of(record, "Code quality") == "2 loads or stores without a mask."
    assert "for each kind of fault" in dict(rubric.RULES)["Code quality"]


def test_fractions_of_the_ceiling_are_told_with_their_estimate():
    """An interval never stands alone."""
    evaluation = build.gpu_evaluation(names=("baseline", "torch"))
    record = build.record(evaluation)
    pattern = r"0\.72 \[0\.7\d, 0\.7\d\] of the ceiling"
    assert re.search(pattern, note_of(record, "Optimisation"))
    assert re.search(pattern, note_of(record, "Performance"))
