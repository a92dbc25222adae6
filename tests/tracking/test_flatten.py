import dataclasses
import math

import pytest

from tritonexp.records import Interval, Outcome, Status
from tritonexp.tracking.flatten import figures_of, params_of, table_of, tags_of
from tritonexp.tracking.notes import note_of


def summaries(record):
    """Collect the metrics that are not per size."""
    return {f.name: f.value for f in figures_of(record) if not f.name.startswith("size/")}


def with_evaluation(record, **changes):
    """Replace fields of the chosen attempt's evaluation."""
    (attempt,) = record.attempts
    changed = dataclasses.replace(attempt.evaluation, **changes)
    return dataclasses.replace(record, attempts=(dataclasses.replace(attempt, evaluation=changed),))


def test_correct_record_gives_every_summary(make_record):
    """A correct, timed kernel has speed-ups with bounds, ceiling, error, cost and tokens."""
    figures = summaries(make_record())
    expected = math.prod((24.0 / 4.1, 52.5 / 10.5, 189.6 / 35.5, 91.2 / 18.3)) ** 0.25
    assert figures["speedup_vs_baseline"] == pytest.approx(expected)
    assert figures["speedup_vs_baseline_low"] == pytest.approx(expected * 0.98)
    assert figures["speedup_vs_baseline_high"] == pytest.approx(expected * 1.02)
    assert figures["score"] == figures["speedup_vs_baseline"]
    assert figures["speedup_vs_expert"] == pytest.approx(
        math.prod((4.5 / 4.1, 11.0 / 10.5, 39.1 / 35.5, 20.1 / 18.3)) ** 0.25
    )
    assert 0.4 < figures["fraction_of_ceiling"] < 1
    assert {name: figures[name] for name in ("correct", "attempts", "error_vs_float64")} == {
        "correct": 1.0,
        "attempts": 1.0,
        "error_vs_float64": 1.25,
    }
    assert (figures["tokens/input"], figures["tokens/output"]) == (900.0, 1500.0)
    assert (figures["cost_usd"], figures["latency_s"]) == (0.02, 12.5)


def test_step_is_the_index_of_the_size(make_record):
    """Each per-size metric has one value per size, in the order of the sizes."""
    by_name: dict[str, list[tuple[int, float]]] = {}
    for figure in figures_of(make_record()):
        if figure.name.startswith("size/"):
            by_name.setdefault(figure.name, []).append((figure.step, figure.value))
    assert set(by_name) == {
        "size/candidate_us",
        "size/baseline_us",
        "size/expert_us",
        "size/torch_us",
        "size/fraction_of_ceiling",
        "size/speedup_vs_baseline",
        "size/speedup_vs_expert",
    }
    assert all([step for step, _ in points] == [0, 1, 2, 3] for points in by_name.values())
    assert by_name["size/candidate_us"] == [(0, 4.1), (1, 10.5), (2, 35.5), (3, 18.3)]


def test_wrong_kernel_scores_zero_and_has_no_speedup(make_record):
    """A failure counts in the score, and leaves no speed-up that could be averaged."""
    figures = summaries(make_record(status=Status.INCORRECT))
    assert (figures["correct"], figures["score"]) == (0.0, 0.0)
    assert not {name for name in figures if name.startswith(("speedup", "fraction"))}


def test_disbelieved_times_stay_out_of_the_charts(make_record):
    """An implausible kernel's times are in the table, and are no metric."""
    record = make_record(status=Status.IMPLAUSIBLE)
    names = {figure.name for figure in figures_of(record)}
    assert "size/baseline_us" in names
    assert not {name for name in names if "candidate" in name or "speedup" in name}
    assert "IMPLAUSIBLE" in table_of(record.evaluation)["status"]


def test_generation_failure_has_no_measured_figure(make_record):
    """Without an evaluation there are cost and score, and no mode, GPU or error."""
    record = make_record(status=Status.NO_CODE, evaluated=False)
    figures, tags = summaries(record), tags_of(record)
    assert (figures["score"], figures["cost_usd"]) == (0.0, 0.02)
    assert "error_vs_float64" not in figures
    assert (tags["mode"], tags["gpu"], tags["status"]) == ("none", "none", "NO_CODE")
    assert "source_sha256" not in tags
    assert table_of(record.evaluation) == {}


def test_interpreted_kernel_has_no_score_and_no_time(make_record, make_evaluation):
    """What was verified without a GPU shows times only as recorded, under that name."""
    earlier = make_evaluation(Status.CORRECT, gpu=True, expert=True, source="x")
    record = make_record(gpu=False, recorded=earlier)
    figures, tags = summaries(record), tags_of(record)
    assert figures["correct"] == 1.0
    assert not {name for name in figures if name.startswith(("score", "speedup", "fraction"))}
    assert figures["recorded/speedup_vs_expert"] > 1
    assert (tags["gpu"], tags["mode"]) == ("none", "interpreter")
    assert tags["recorded_gpu"] == "Example GPU"
    assert not [figure for figure in figures_of(record) if figure.name.startswith("size/")]


def test_without_expert_the_comparison_is_two_way(make_record):
    """An operation without a human expert has no figure or tag against one."""
    record = make_record(expert=False)
    names = {figure.name for figure in figures_of(record)}
    assert "speedup_vs_baseline" in names
    assert not {name for name in (*names, *tags_of(record)) if "expert" in name}


def test_failed_comparison_is_no_figure(make_record):
    """A size where a side failed takes the mean with it, even if a number is in the record."""
    record = make_record()
    failed = tuple(
        dataclasses.replace(item, outcome=Outcome.FAILED)
        for item in record.evaluation.comparisons
        if item.reference == "liger"
    )
    record = with_evaluation(record, comparisons=failed)
    assert not {figure.name for figure in figures_of(record) if "speedup" in figure.name}
    assert tags_of(record)["verdict_vs_expert"] == "failed"


def test_size_without_a_time_leaves_no_mean_fraction(make_record):
    """The fraction of the ceiling is not averaged over the sizes that happen to be there."""
    record = make_record()
    candidate = record.evaluation.candidate
    shorter = dataclasses.replace(candidate, timings=candidate.timings[1:])
    assert "fraction_of_ceiling" not in summaries(with_evaluation(record, candidate=shorter))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_not_finite_is_never_a_figure(make_record, value):
    """An infinite error or ratio is left out, everything else stays."""
    record = make_record()
    (first, *rest) = record.evaluation.comparisons
    odd = dataclasses.replace(first, speedup=value, interval=Interval(low=value, high=value))
    figures = summaries(with_evaluation(record, comparisons=(odd, *rest)))
    assert "speedup_vs_expert" in figures
    assert not {name for name in figures if name.startswith("speedup_vs_baseline")}
    assert "score" not in figures


def test_unknown_cost_of_one_attempt_leaves_no_total(make_record):
    """A total over attempts is absent rather than too small."""
    record = make_record()
    (attempt,) = record.attempts
    blind = dataclasses.replace(attempt.completion, usage=None, cost_usd=None, latency_s=None)
    second = dataclasses.replace(attempt, number=2, completion=blind)
    figures = summaries(dataclasses.replace(record, attempts=(attempt, second)))
    assert figures["attempts"] == 2.0
    assert not {"cost_usd", "latency_s", "tokens/input", "tokens/output"} & set(figures)


def test_params_are_the_choices(make_record):
    """The parameters are what the job was asked to do."""
    assert params_of(make_record()) == {
        "operation": "softmax",
        "model": "sonnet",
        "prompt": "baseline_only",
        "strategy": "single_shot",
        "sizes": "study",
        "timing": "device",
        "expert": "auto",
        "seed": "0",
    }


def test_note_tells_speedup_interval_and_verdict(make_record):
    """The note of a correct run holds each opponent's ratio, its interval and the GPU."""
    note = note_of(make_record())
    assert "**CORRECT** · Example GPU, float32, 2026-11-22" in note
    assert "| expert (liger) | 1.09x | 1.06 to 1.11 | faster |" in note


def test_note_quotes_a_reason_as_text(make_record):
    """A reason may hold a model's code; it stays on one line inside a code span."""
    note = note_of(make_record(status=Status.INCORRECT))
    assert "Reason: `row 3 is off by 0.5 | 'x' at 3x257`" in note
    assert "| expert (liger) | - | - | failed |" in note
