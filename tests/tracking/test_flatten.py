import dataclasses
import math

import builders as build
import pytest

from tritonexp.records import Interval, Mode, Outcome, Status
from tritonexp.tracking.flatten import figures_of, params_of, table_of, tags_of
from tritonexp.tracking.notes import note_of

REASON = "row 3 is off by 0.5 | `x` at 3x257"


def timed(**sides):
    """Make the record of a study on a GPU."""
    return build.record(build.gpu_evaluation(**sides))


def ended(status):
    """Make the record of a study on a GPU whose candidate ended so."""
    return timed(candidate=build.trial("candidate", status=status, reason=REASON))


def summaries(record):
    """Collect the metrics that are not per size."""
    return {f.name: f.value for f in figures_of(record) if not f.name.startswith("size/")}


def with_evaluation(record, **changes):
    """Replace fields of the chosen attempt's evaluation."""
    (attempt,) = record.attempts
    changed = dataclasses.replace(attempt.evaluation, **changes)
    return dataclasses.replace(record, attempts=(dataclasses.replace(attempt, evaluation=changed),))


def test_correct_record_gives_every_summary():
    """A correct, timed kernel has speed-ups with bounds, ceiling, error, cost and tokens."""
    record = timed()
    figures = summaries(record)
    expected = math.prod((24.0 / 4.1, 52.5 / 10.5, 189.6 / 35.5, 91.2 / 18.3)) ** 0.25
    interval = record.evaluation.comparison("baseline").interval
    assert figures["speedup_vs_baseline"] == pytest.approx(expected, rel=0.005)
    assert figures["speedup_vs_baseline_low"] == interval.low
    assert figures["speedup_vs_baseline_high"] == interval.high
    assert figures["score"] == figures["speedup_vs_baseline"]
    assert figures["speedup_vs_expert"] == pytest.approx(
        math.prod((4.5 / 4.1, 11.0 / 10.5, 39.1 / 35.5, 20.1 / 18.3)) ** 0.25, rel=0.005
    )
    assert 0.4 < figures["fraction_of_ceiling"] < 1
    assert {name: figures[name] for name in ("correct", "attempts", "error_vs_float64")} == {
        "correct": 1.0,
        "attempts": 1.0,
        "error_vs_float64": 1.25,
    }
    assert (figures["tokens/input"], figures["tokens/output"]) == (900.0, 1500.0)
    assert (figures["cost_usd"], figures["latency_s"]) == (0.02, 12.5)


def test_step_is_the_index_of_the_size():
    """Each per-size metric has one value per size, in the order of the sizes."""
    by_name: dict[str, list[tuple[int, float]]] = {}
    for figure in figures_of(timed()):
        if figure.name.startswith("size/"):
            by_name.setdefault(figure.name, []).append((figure.step, figure.value))
    assert set(by_name) == {
        "size/candidate_us",
        "size/baseline_us",
        "size/expert_us",
        "size/torch_us",
        "size/house_us",
        "size/fraction_of_ceiling",
        "size/speedup_vs_baseline",
        "size/speedup_vs_expert",
    }
    assert all([step for step, _ in points] == [0, 1, 2, 3] for points in by_name.values())
    assert by_name["size/candidate_us"] == [(0, 4.1), (1, 10.5), (2, 35.5), (3, 18.3)]


def test_wrong_kernel_scores_zero_and_has_no_speedup():
    """A failure counts in the score, and leaves no speed-up that could be averaged."""
    figures = summaries(ended(Status.INCORRECT))
    assert (figures["correct"], figures["score"]) == (0.0, 0.0)
    assert not {name for name in figures if name.startswith(("speedup", "fraction"))}


def test_disbelieved_times_stay_out_of_the_charts():
    """An implausible kernel's times are in the table, and are no metric."""
    record = ended(Status.IMPLAUSIBLE)
    names = {figure.name for figure in figures_of(record)}
    assert "size/baseline_us" in names
    assert not {name for name in names if "candidate" in name or "speedup" in name}
    assert "IMPLAUSIBLE" in table_of(record.evaluation)["status"]


def test_generation_failure_has_no_measured_figure():
    """Without an evaluation there are cost and score, and no mode, GPU or error."""
    record = build.record(source=None)
    figures, tags = summaries(record), tags_of(record)
    assert (figures["score"], figures["cost_usd"]) == (0.0, 0.02)
    assert "error_vs_float64" not in figures
    assert (tags["mode"], tags["gpu"], tags["status"]) == ("none", "none", "NO_CODE")
    assert "source_sha256" not in tags
    assert table_of(record.evaluation) == {}


def test_interpreted_kernel_has_no_score_and_no_time():
    """What was verified without a GPU shows times only as recorded, the score too."""
    record = build.record(
        build.interpreter_evaluation(), recorded_evaluation=build.gpu_evaluation()
    )
    figures, tags = summaries(record), tags_of(record)
    assert figures["correct"] == 1.0
    assert not {name for name in figures if name.startswith(("score", "speedup", "fraction"))}
    assert figures["recorded/speedup_vs_expert"] > 1
    assert figures["recorded/score"] == figures["recorded/speedup_vs_baseline"]
    assert (tags["gpu"], tags["mode"]) == ("none", "interpreter")
    assert tags["recorded_gpu"] == "NVIDIA H200"
    assert not [figure for figure in figures_of(record) if figure.name.startswith("size/")]


def from_api(record):
    """The same answer, asked through the API."""
    (attempt,) = record.attempts
    completion = dataclasses.replace(attempt.completion, origin="api")
    return dataclasses.replace(
        record, attempts=(dataclasses.replace(attempt, completion=completion),)
    )


def scores(record, mode=None):
    """The metrics that are scores."""
    figures = {figure.name: figure.value for figure in figures_of(record, mode)}
    return {name: value for name, value in figures.items() if name.endswith("score")}


def interpreted(status=Status.CORRECT, recorded=None):
    """Make the record of a study without a GPU."""
    failing = 0 if status is Status.CORRECT else 3
    return build.record(
        build.interpreter_evaluation(status=status, failing=failing), recorded_evaluation=recorded
    )


def test_averages_without_a_gpu_are_over_right_and_wrong():
    """A failure has a score where a right kernel has one, and in no other."""
    right = scores(interpreted(recorded=build.gpu_evaluation()))
    wrong = scores(interpreted(Status.INCORRECT))
    assert list(right) == list(wrong) == ["recorded/score"]
    assert wrong["recorded/score"] == 0.0
    average = (right["recorded/score"] + wrong["recorded/score"]) / 2
    assert average == pytest.approx(right["recorded/score"] / 2)


def test_kernels_that_nobody_timed_have_no_score():
    """A model's new answers without a GPU: neither the right nor the wrong ones have one."""
    assert scores(from_api(interpreted())) == {}
    assert scores(from_api(interpreted(Status.INCORRECT))) == {}
    assert scores(interpreted()) == {}


def test_kernel_that_a_gpu_refused_scores_zero():
    """Right in the interpreter, and wrong on the GPU that recorded it."""
    subject = build.trial("candidate", status=Status.INCORRECT, reason=REASON)
    record = interpreted(recorded=build.gpu_evaluation(candidate=subject))
    assert scores(record) == {"recorded/score": 0.0}


@pytest.mark.parametrize(
    ("mode", "name"),
    [(None, "score"), (Mode.GPU, "score"), (Mode.INTERPRETER, "recorded/score")],
)
def test_answer_without_code_counts_where_its_neighbours_do(mode, name):
    """Nothing was evaluated, so the machine's mode says which score the failure belongs to."""
    record = build.record(source=None)
    assert scores(record, mode) == {name: 0.0}
    assert tags_of(record, mode)["mode"] == str(mode or "none")


def test_what_was_evaluated_tells_its_own_mode():
    """A mode that is handed over does not change what the record says."""
    assert scores(ended(Status.INCORRECT), Mode.INTERPRETER) == {"score": 0.0}
    record = interpreted(recorded=build.gpu_evaluation())
    assert scores(record, Mode.GPU) == scores(record)
    assert tags_of(record, Mode.GPU)["mode"] == "interpreter"


def test_without_expert_the_comparison_is_two_way():
    """An operation without a human expert has no figure or tag against one."""
    record = timed(names=("baseline", "torch"))
    names = {figure.name for figure in figures_of(record)}
    assert "speedup_vs_baseline" in names
    assert not {name for name in (*names, *tags_of(record)) if "expert" in name}


def test_failed_comparison_is_no_figure():
    """A size where a side failed takes the mean with it, even if a number is in the record."""
    record = timed()
    failed = tuple(
        dataclasses.replace(item, outcome=Outcome.FAILED)
        for item in record.evaluation.comparisons
        if item.reference == "liger"
    )
    record = with_evaluation(record, comparisons=failed)
    assert not {figure.name for figure in figures_of(record) if "speedup" in figure.name}
    assert tags_of(record)["verdict_vs_expert"] == "failed"


def test_size_without_a_time_leaves_no_mean_fraction():
    """The fraction of the ceiling is not averaged over the sizes that happen to be there."""
    record = timed()
    candidate = record.evaluation.candidate
    shorter = dataclasses.replace(candidate, timings=candidate.timings[1:])
    assert "fraction_of_ceiling" not in summaries(with_evaluation(record, candidate=shorter))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_not_finite_is_never_a_figure(value):
    """An infinite error or ratio is left out, everything else stays."""
    record = timed()
    overall, expert = map(record.evaluation.comparison, ("baseline", "liger"))
    odd = dataclasses.replace(overall, speedup=value, interval=Interval(low=value, high=value))
    figures = summaries(with_evaluation(record, comparisons=(odd, expert)))
    assert "speedup_vs_expert" in figures
    assert not {name for name in figures if name.startswith("speedup_vs_baseline")}
    assert "score" not in figures


def test_unknown_cost_of_one_attempt_leaves_no_total():
    """A total over attempts is absent rather than too small."""
    record = timed()
    (attempt,) = record.attempts
    blind = dataclasses.replace(attempt.completion, usage=None, cost_usd=None, latency_s=None)
    second = dataclasses.replace(attempt, number=2, completion=blind)
    figures = summaries(dataclasses.replace(record, attempts=(attempt, second)))
    assert figures["attempts"] == 2.0
    assert not {"cost_usd", "latency_s", "tokens/input", "tokens/output"} & set(figures)


def test_params_are_the_choices():
    """The parameters are what the job was asked to do."""
    choices = {
        "operation": "softmax",
        "model": "recorded",
        "prompt": "baseline_only",
        "strategy": "single_shot",
        "sizes": "study",
        "timing": "device",
        "expert": "auto",
        "seed": "0",
    }
    record = dataclasses.replace(timed(), config={"model": {"name": "recorded"}, "seed": 0})
    assert params_of(record) == choices


def test_params_tell_what_was_set_inside_of_a_choice():
    """Effort, path, extents and the like, so that runs can be filtered by them."""
    config = {
        "model": {"name": "sonnet", "effort": "low", "path": None, "api_key_env": "KEY"},
        "sizes": {"name": "study", "custom": [[128, 128], [7, 9]]},
        "profile": {"name": "ncu"},
        "tracking": {"folder": "mlruns"},
        "contenders": ["torch", "house"],
        "sandbox": True,
        "seed": 3,
    }
    params = params_of(dataclasses.replace(timed(), config=config))
    assert {name: params[name] for name in params if name not in params_of(timed())} == {
        "model.effort": "low",
        "sizes.custom": "[[128,128],[7,9]]",
        "profile.name": "ncu",
        "contenders": "[torch,house]",
        "sandbox": "true",
    }


def test_param_that_mlflow_would_refuse_is_left_out():
    """A list of thousands of sizes keeps no run out of the store."""
    config = {"sizes": {"custom": [[1, 1]] * 5000}}
    assert "sizes.custom" not in params_of(dataclasses.replace(timed(), config=config))


def test_note_tells_speedup_interval_and_verdict():
    """The note of a correct run holds each opponent's ratio, its interval and the GPU."""
    record = timed(references=(build.trial("baseline"), build.trial("liger", missing=(3,))))
    told = dataclasses.replace(
        record.evaluation.comparison("baseline"),
        speedup=5.25,
        interval=Interval(low=5.06, high=5.41),
    )
    overall = (told, record.evaluation.comparison("liger"))
    note = note_of(with_evaluation(record, comparisons=overall))
    assert "**CORRECT** · NVIDIA H200, float32, 2026-11-22" in note
    assert "| baseline | 5.25x | 5.06 to 5.41 | faster |" in note
    assert "| expert (liger) | - | - | failed |" in note


def test_note_quotes_a_reason_as_text():
    """A reason may hold a model's code; it stays on one line inside a code span."""
    note = note_of(ended(Status.INCORRECT))
    assert "Reason: `row 3 is off by 0.5 | 'x' at 3x257`" in note
