"""Which of a record's evaluations a report shows, and the look-ups that tables and plots share.

Does not cover statistics over several records: see sweep.
"""

from __future__ import annotations

import dataclasses
import re

from tritonexp.records import (
    Clock,
    Comparison,
    Evaluation,
    Interval,
    Mode,
    Outcome,
    Size,
    Status,
    StudyRecord,
    Timing,
    Trial,
)
from tritonexp.report import words
from tritonexp.statistics import geometric_mean

# the strategy whose fastest correct answer stands for the job
FASTEST_OF_SEVERAL = "best_of_n"

CLOCK_NAMES = {
    Clock.GRAPH: "device time",
    Clock.EVENTS: "device time",
    Clock.HOST: "host time",
}

CLOCK_METHODS = {
    Clock.GRAPH: "CUDA graph replay over rotating buffers",
    Clock.EVENTS: "events around eager calls with a flushed cache",
    Clock.HOST: "host clock, the original study's protocol",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timed:
    """The evaluation that the times of a report come from."""

    evaluation: Evaluation
    recorded: bool  # made earlier on a named GPU, not in this run

    @property
    def where(self) -> str:
        """GPU and date, as in NVIDIA H200, 2026-11-22."""
        return f"{gpu_name(self.evaluation)}, {words.day(self.evaluation.environment.date)}"

    @property
    def label(self) -> str:
        """How the figures must be labelled."""
        return f"{'recorded' if self.recorded else 'measured'} on {self.where}"

    @property
    def clock(self) -> Clock:
        """The clock that decides."""
        if self.evaluation.protocol is not None:
            return self.evaluation.protocol.clock
        return next(timing.clock for trial in self.evaluation.trials for timing in trial.timings)

    @property
    def margin(self) -> float | None:
        """The relative margin within which a ratio is a tie."""
        return self.evaluation.protocol.margin if self.evaluation.protocol else None

    def comparison(
        self, reference: str, size: Size | None, subject: str | None = None
    ) -> Comparison | None:
        """The comparison by the clock that decides; host and device time are never mixed."""
        subject = subject or self.evaluation.candidate.implementation.name
        for item in self.evaluation.comparisons:
            if (item.subject, item.reference, item.size) == (subject, reference, size) and (
                (item.clock is Clock.HOST) == (self.clock is Clock.HOST)
            ):
                return item
        return None

    def versus_baseline(self, size: Size | None = None) -> Comparison | None:
        """The candidate against the baseline."""
        return self.comparison(baseline_of(self.evaluation).implementation.name, size)

    def versus_expert(self, size: Size | None = None) -> Comparison | None:
        """The candidate against the human expert; None where there is no expert."""
        expert = self.evaluation.expert
        return None if expert is None else self.comparison(expert.implementation.name, size)

    def fraction_of_ceiling(self, trial: Trial) -> float | None:
        """Geometric mean over the sizes; None unless every size has one."""
        fractions = [
            None if timing is None else timing.fraction_of_ceiling
            for timing in (trial.timing_at(size) for size in self.evaluation.sizes)
        ]
        known = [value for value in fractions if value is not None]
        return geometric_mean(known) if known and len(known) == len(fractions) else None

    def fraction_interval(self, trial: Trial) -> Interval | None:
        """The same at the slow and the fast ends of the times' intervals."""
        timings = [trial.timing_at(size) for size in self.evaluation.sizes]
        ends = [
            (item.floor_us / item.interval_us.high, item.floor_us / item.interval_us.low)
            for item in timings
            if item is not None and item.floor_us is not None
        ]
        if not ends or len(ends) != len(timings):
            return None
        return Interval(
            low=geometric_mean([low for low, _ in ends]),
            high=geometric_mean([high for _, high in ends]),
        )


def timed(record: StudyRecord) -> Timed | None:
    """Where the times come from: this run on a GPU, else the recorded evaluation, else nowhere."""
    own = record.evaluation
    if own is not None and own.mode is Mode.GPU:
        return Timed(evaluation=own, recorded=False) if has_times(own) else None
    recorded = record.recorded_evaluation
    if recorded is not None and has_times(recorded):
        return Timed(evaluation=recorded, recorded=True)
    return None


def first_correct_stands(record: StudyRecord) -> bool:
    """Whether the fastest answer was asked for, and the first correct one taken for want of times.

    Equals go to the earlier one, and where nothing was timed all correct ones are equal, unless
    recorded evaluations tell of them at all the sizes.
    """
    own, recorded = record.evaluation, record.recorded_evaluation
    if own is not None and recorded is not None and set(own.sizes) <= set(recorded.sizes):
        return False
    return (
        record.choices.strategy == FASTEST_OF_SEVERAL
        and len(record.attempts) > 1
        and record.status is Status.CORRECT
        and not any(item.evaluation and has_times(item.evaluation) for item in record.attempts)
    )


def mean_us(trial: Trial, evaluation: Evaluation) -> float | None:
    """The geometric mean of a side's median times over the sizes; None where one is missing."""
    timings = [trial.timing_at(size) for size in evaluation.sizes]
    medians = [item.median_us for item in timings if item is not None]
    return geometric_mean(medians) if medians and len(medians) == len(timings) else None


def has_times(evaluation: Evaluation) -> bool:
    """Whether anything was timed."""
    return any(trial.timings for trial in evaluation.trials)


def baseline_of(evaluation: Evaluation) -> Trial:
    """The first reference, which is the baseline."""
    return evaluation.references[0]


def gpu_name(evaluation: Evaluation) -> str:
    """The GPU's name, or that there was none."""
    gpu = evaluation.environment.gpu
    return gpu.name if gpu else "no GPU"


def hardware(evaluation: Evaluation) -> str:
    """The GPU with its compute capability, or the CPU that interpreted."""
    gpu = evaluation.environment.gpu
    if gpu is None or evaluation.mode is Mode.INTERPRETER:
        return f"no GPU; Triton's interpreter on {evaluation.environment.cpu}"
    return f"{gpu.name} (compute capability {gpu.compute_capability}, {gpu.sm_count} SMs)"


def passed(trial: Trial) -> int:
    """How many cases passed."""
    return sum(case.status is Status.CORRECT for case in trial.cases)


def uncaptured(timing: Timing | None) -> bool:
    """Whether a time comes from events because a graph could not be captured."""
    return timing is not None and timing.clock is Clock.EVENTS


def model_name(record: StudyRecord) -> str:
    """The model as chosen and as it answered."""
    completion = record.attempt.completion
    answered = completion.model_answered or completion.model_asked
    chosen = record.choices.model
    return chosen if answered in {chosen, ""} else f"{chosen} ({answered})"


def outcome_of(item: Comparison | None) -> Outcome | None:
    """The verdict, None where nothing was compared."""
    return None if item is None else item.outcome


def one_line(text: str, limit: int = 160) -> str:
    """The first sentence's worth of a text, on one line."""
    flat = re.sub(r"\s+", " ", text).strip()
    return flat if len(flat) <= limit else flat[: limit - 3].rstrip() + "..."


def baseline_fraction(evaluation: Evaluation, size: Size) -> float | None:
    """The baseline's fraction of the ceiling at a size."""
    timing = baseline_of(evaluation).timing_at(size)
    return timing.fraction_of_ceiling if timing else None
