"""A StudyRecord as the flat parameters, tags, metrics and table that MLflow can chart.

Only what was measured and is believed becomes a figure: a candidate that is not CORRECT keeps its
disbelieved times in record.json and timings.json, and out of the charts. Infinities and NaN are
left out, because MLflow hands them back as other numbers.

A score is what can be averaged over runs: where nothing can be timed, only failures would have one,
so there the score is of the recorded figures.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tritonexp.records import (
    Evaluation,
    Mode,
    Outcome,
    Role,
    Size,
    Status,
    StudyRecord,
    Trial,
)

NONE = "none"
# groups of the configuration whose names are choices, and so parameters of their own
CHOSEN = frozenset({"operation", "model", "prompt", "strategy", "sizes", "timing", "expert"})
# keys that follow from a choice's name, or say how the machinery gets its answers
UNTOLD = frozenset(
    {
        "model.provider",
        "model.timeout_s",
        "model.parallel",
        "model.api_key_env",
        "model.input_usd_per_mtok",
        "model.output_usd_per_mtok",
    }
)
# the longest value of a parameter that MLflow takes
PARAM_LETTERS = 6000


@dataclasses.dataclass(frozen=True)
class Figure:
    """One metric value; `step` is the index of the size it belongs to, 0 for a summary."""

    name: str
    value: float
    step: int = 0


def params_of(record: StudyRecord) -> dict[str, str]:
    """The choices that made the job, and the keys inside of them that have a value.

    A record does not tell which keys a command line changed, so runs of a default have them too
    and can be filtered by the same names.
    """
    choices = {name: str(value) for name, value in dataclasses.asdict(record.choices).items()}
    inside = {
        name: _param_text(value)
        for name, value in _keys(record.config)
        if value is not None and name not in choices and name not in UNTOLD
    }
    return choices | {name: text for name, text in inside.items() if len(text) <= PARAM_LETTERS}


def _keys(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A configuration's keys with their groups, as in model.effort; without the groups' names."""
    for group, settings in config.items():
        if group == "tracking":
            continue
        if not isinstance(settings, dict):
            yield metric_name(group), settings
            continue
        for key, value in settings.items():
            if key != "name" or group not in CHOSEN:
                yield metric_name(f"{group}.{key}"), value


def _param_text(value: Any) -> str:
    """A value as a command line would have it, without quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_param_text, value)) + "]"
    return "null" if value is None else str(value)


def tags_of(record: StudyRecord, mode: Mode | None = None) -> dict[str, str]:
    """What runs are found and grouped by; see figures_of for the mode."""
    evaluation, attempt = record.evaluation, record.attempt
    mode = mode_of(record) or mode
    gpu = evaluation.environment.gpu if evaluation else None
    tags = {
        "kind": "attempt",
        "operation": record.choices.operation,
        "model": record.choices.model,
        "prompt": record.choices.prompt,
        "status": str(record.status),
        "gpu": gpu.name if gpu else NONE,
        "mode": str(mode) if mode else NONE,
        "sandbox": evaluation.environment.sandbox if evaluation else NONE,
        "study_id": record.study_id,
    }
    if record.sweep is not None:
        tags["sweep"] = record.sweep
    if evaluation is not None:
        tags["source_sha256"] = evaluation.candidate.implementation.sha256
    for label, trial in opponents(evaluation):
        comparison = evaluation.comparison(trial.implementation.name) if evaluation else None
        if comparison is not None:
            tags[f"verdict_vs_{label}"] = str(comparison.outcome)
    if attempt.completion.model_answered is not None:
        tags["model_answered"] = attempt.completion.model_answered
    if record.recorded_evaluation is not None:
        environment = record.recorded_evaluation.environment
        tags["recorded_gpu"] = environment.gpu.name if environment.gpu else NONE
        tags["recorded_on"] = environment.date
    return tags


def figures_of(record: StudyRecord, mode: Mode | None = None) -> tuple[Figure, ...]:
    """Every metric of the run, finite ones only.

    `mode` is that of the machine, which a record does not tell where nothing was evaluated.
    """
    evaluation = record.evaluation
    correct = record.status is Status.CORRECT
    named: dict[str, float | None] = {
        "correct": float(correct),
        "attempts": float(len(record.attempts)),
        "cost_usd": record.cost_usd,
        **_spent(record),
    }
    stepped: Iterable[Figure] = ()
    if evaluation is not None:
        named["error_vs_float64"] = evaluation.candidate.error_ulp
        named |= summary_of(evaluation)
        stepped = _by_size(evaluation)
    recorded = record.recorded_evaluation
    shown = summary_of(recorded) if recorded is not None else {}
    named |= {f"recorded/{name}": value for name, value in shown.items()}
    # failures count as 0, and in one score alone: in the other only they would be averaged
    if (mode_of(record) or mode) is Mode.INTERPRETER:
        named["recorded/score"] = _recorded_score(record, shown)
    else:
        named["score"] = named.get("speedup_vs_baseline") if correct else 0.0
    summaries = [Figure(name, value) for name, value in named.items() if value is not None]
    return tuple(figure for figure in (*summaries, *stepped) if math.isfinite(figure.value))


def mode_of(record: StudyRecord) -> Mode | None:
    """Where kernels were run; None where none was."""
    ran = (item.evaluation for item in (record.attempt, *record.attempts))
    modes = (evaluation.mode for evaluation in ran if evaluation is not None)
    # an evaluation is shown beside only where there was no GPU
    return next(modes, Mode.INTERPRETER if record.recorded_evaluation is not None else None)


def _recorded_score(record: StudyRecord, shown: Mapping[str, float | None]) -> float | None:
    """The recorded speed-up over the baseline, and 0 for an answer that is wrong here or there."""
    recorded = record.recorded_evaluation
    if record.status is not Status.CORRECT:
        # of a kernel that nobody ever timed, only failures would have a score
        return 0.0 if record.attempt.completion.origin == "recorded" else None
    if recorded is None:
        return None
    return shown.get("speedup_vs_baseline") if recorded.status is Status.CORRECT else 0.0


def summary_of(evaluation: Evaluation) -> dict[str, float | None]:
    """Speed-ups with their intervals and the fraction of the ceiling, over all sizes."""
    if evaluation.status is not Status.CORRECT:
        return {}
    figures: dict[str, float | None] = {}
    for label, trial in opponents(evaluation):
        comparison = evaluation.comparison(trial.implementation.name)
        if comparison is None or comparison.outcome is Outcome.FAILED:
            continue
        figures[f"speedup_vs_{label}"] = comparison.speedup
        if comparison.interval is not None:
            figures[f"speedup_vs_{label}_low"] = comparison.interval.low
            figures[f"speedup_vs_{label}_high"] = comparison.interval.high
    figures["fraction_of_ceiling"] = _mean_fraction(evaluation)
    return figures


def opponents(evaluation: Evaluation | None) -> tuple[tuple[str, Trial], ...]:
    """The baseline and, where there is one, the human expert, each with its label."""
    if evaluation is None:
        return ()
    baselines = [t for t in evaluation.references if t.implementation.role is Role.BASELINE]
    pairs = [("baseline", trial) for trial in baselines[:1]]
    if evaluation.expert is not None:
        pairs.append(("expert", evaluation.expert))
    return tuple(pairs)


def table_of(evaluation: Evaluation | None) -> dict[str, list[Any]]:
    """One row per implementation and size, as columns; empty where nothing was timed."""
    rows = [
        {
            # what is read first comes first: the UI shows six columns
            "implementation": trial.implementation.name,
            "size": timing.size.label,
            "median_us": timing.median_us,
            "low_us": timing.interval_us.low,
            "high_us": timing.interval_us.high,
            "fraction_of_ceiling": timing.fraction_of_ceiling,
            "host_us": timing.host_us,
            "referee_us": timing.referee_us,
            "floor_us": timing.floor_us,
            "dtype": timing.dtype,
            "clock": str(timing.clock),
            "role": str(trial.implementation.role),
            "status": str(trial.status),
        }
        for trial in (evaluation.trials if evaluation else ())
        for timing in trial.timings
    ]
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _spent(record: StudyRecord) -> dict[str, float | None]:
    """Tokens and seconds over all attempts; None where any is unknown."""
    completions = [attempt.completion for attempt in record.attempts]
    usages = [completion.usage for completion in completions]
    return {
        "latency_s": _total(completion.latency_s for completion in completions),
        "tokens/input": _total(usage.input_tokens if usage else None for usage in usages),
        "tokens/output": _total(usage.output_tokens if usage else None for usage in usages),
    }


def _total(values: Iterable[float | None]) -> float | None:
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _mean_fraction(evaluation: Evaluation) -> float | None:
    """Geometric mean over the sizes that were asked for; None where any of them has none."""
    fractions = [_fraction(evaluation.candidate, size) for size in evaluation.sizes]
    if not fractions or any(fraction is None or fraction <= 0 for fraction in fractions):
        return None
    logs = math.fsum(math.log(fraction) for fraction in fractions if fraction is not None)
    return math.exp(logs / len(fractions))


def _fraction(trial: Trial, size: Size) -> float | None:
    timing = trial.timing_at(size)
    return timing.fraction_of_ceiling if timing else None


def _by_size(evaluation: Evaluation) -> Iterator[Figure]:
    labels = {trial.implementation.name: label for label, trial in opponents(evaluation)}
    believed = [
        trial
        for trial in evaluation.trials
        if trial is not evaluation.candidate or trial.status is Status.CORRECT
    ]
    for step, size in enumerate(evaluation.sizes):
        for trial in believed:
            name = trial.implementation.name
            timing = trial.timing_at(size)
            if timing is not None:
                yield Figure(
                    f"size/{metric_name(labels.get(name, name))}_us", timing.median_us, step
                )
        if evaluation.status is not Status.CORRECT:
            continue
        fraction = _fraction(evaluation.candidate, size)
        if fraction is not None:
            yield Figure("size/fraction_of_ceiling", fraction, step)
        for label, trial in opponents(evaluation):
            comparison = evaluation.comparison(trial.implementation.name, size)
            if (
                comparison is not None
                and comparison.speedup is not None
                and comparison.outcome is not Outcome.FAILED
            ):
                yield Figure(f"size/speedup_vs_{label}", comparison.speedup, step)


def metric_name(name: str) -> str:
    """A name with what MLflow refuses in a metric's name turned into underscores."""
    return re.sub(r"[^\w .:/-]", "_", name)
