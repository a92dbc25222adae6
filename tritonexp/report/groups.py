"""The jobs of a sweep, grouped by what was chosen, and what a group comes to.

Does not cover answers of a model that no job stands for: see rates.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

from tritonexp.records import Comparison, Evaluation, Interval, Mode, Status, StudyRecord
from tritonexp.report import view, words
from tritonexp.report.settings import settings_of
from tritonexp.statistics import geometric_mean, proportion_interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What a comparison takes from one record."""

    record: StudyRecord
    correct: bool
    shown: view.Timed | None  # where its speed-ups come from, if it has any
    versus_baseline: Comparison | None
    versus_expert: Comparison | None
    fraction_of_ceiling: float | None
    where: str  # GPU and date of the speed-ups, or "-"
    error: str  # in ulp, with where it was measured, or "-"

    @property
    def recorded(self) -> bool:
        """Whether its speed-ups come from a recorded evaluation."""
        return self.shown is not None and self.shown.recorded

    @property
    def score(self) -> float | None:
        """The speed-up over the baseline, 0 for a failure, None where nothing was timed.

        Without a GPU, only recorded answers have recorded figures that a failure can count among.
        """
        if not self.correct:
            evaluation = self.record.evaluation
            timed = evaluation is None or evaluation.mode is Mode.GPU
            is_recorded = self.record.attempt.completion.origin == "recorded"
            return 0.0 if timed or is_recorded else None
        if self.versus_baseline is None:
            return None
        return self.versus_baseline.speedup or 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """The jobs of one operation, model, prompt and setting."""

    operation: str
    model: str
    prompt: str
    setting: str  # as in sizes=study model.effort=low, "" where nothing else varies
    jobs: tuple[Job, ...]

    @property
    def name(self) -> str:
        """operation/model/prompt, and the setting where there is one."""
        return "/".join(
            part for part in (self.operation, self.model, self.prompt, self.setting) if part
        )

    @property
    def correct(self) -> int:
        """How many jobs ended CORRECT."""
        return sum(job.correct for job in self.jobs)

    @property
    def records(self) -> tuple[StudyRecord, ...]:
        """Those of the jobs."""
        return tuple(job.record for job in self.jobs)

    @property
    def recorded(self) -> bool:
        """Whether any speed-up comes from a recorded evaluation."""
        return any(job.recorded for job in self.jobs)

    @property
    def score(self) -> float | None:
        """Arithmetic mean of the jobs' scores; None where a job that could be timed was not."""
        scores = [job.score for job in self.jobs]
        known = [score for score in scores if score is not None]
        return statistics.fmean(known) if len(known) == len(scores) else None

    def speedup(self, reference: str) -> tuple[float, Interval | None] | None:
        """Geometric mean over the correct, timed jobs, with its interval.

        One job: the measurement's own interval. More: a t interval of the logarithms over the
        jobs, which holds how much samples differ; reference is baseline or expert.
        """
        return pool([getattr(job, f"versus_{reference}") for job in self.jobs if job.correct])

    @property
    def fraction_of_ceiling(self) -> float | None:
        """Geometric mean over the correct jobs that have one."""
        known = [j.fraction_of_ceiling for j in self.jobs if j.correct and j.fraction_of_ceiling]
        return geometric_mean(known) if known else None


def group(records: Sequence[StudyRecord]) -> tuple[Group, ...]:
    """Group records by operation, model, prompt and whatever else was set differently."""
    found: dict[tuple[str, str, str, str], list[StudyRecord]] = {}
    for record, setting in zip(records, settings_of(records), strict=True):
        choices = record.choices
        key = (choices.operation, choices.model, choices.prompt, setting)
        found.setdefault(key, []).append(record)
    return tuple(
        Group(
            operation=operation,
            model=model,
            prompt=prompt,
            setting=setting,
            jobs=tuple(_job(item) for item in sorted(members, key=lambda r: r.study_id)),
        )
        for (operation, model, prompt, setting), members in sorted(found.items())
    )


def pool(items: Sequence[Comparison | None]) -> tuple[float, Interval | None] | None:
    """Geometric mean of speed-ups with a 95 % interval; None where there is none."""
    known = [item for item in items if item is not None and item.speedup is not None]
    speedups = [item.speedup for item in known if item.speedup is not None]
    if not speedups:
        return None
    if len(speedups) == 1:
        return speedups[0], known[0].interval
    from scipy.stats import t

    logs = [math.log(value) for value in speedups]
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    reach = float(t.ppf(0.975, len(logs) - 1)) * error
    centre = statistics.fmean(logs)
    return math.exp(centre), Interval(low=math.exp(centre - reach), high=math.exp(centre + reach))


def head(groups: Sequence[Group]) -> tuple[str, ...]:
    """The first columns of a table of groups."""
    base = ("operation", "model", "prompt")
    return (*base, "setting") if any(item.setting for item in groups) else base


def keys(item: Group, groups: Sequence[Group]) -> tuple[str, ...]:
    """What stands in them."""
    keys = (item.operation, item.model, item.prompt)
    return (*keys, item.setting) if any(other.setting for other in groups) else keys


def share(correct: int, of: int) -> str:
    """So many of how many, with a Wilson interval where there are several."""
    text = f"{correct} of {of}"
    if of == 1:
        return text
    return f"{text}: {correct / of:.2f} {words.span(proportion_interval(correct, of), 2)}"


def _job(record: StudyRecord) -> Job:
    shown = view.timed(record)
    evaluation = record.evaluation
    # a candidate that only the interpreter passed and a GPU refused is not correct
    correct = record.status is Status.CORRECT and (
        shown is None or shown.evaluation.status is Status.CORRECT
    )
    # what another protocol recorded is not this job's figure
    usable = shown if correct and not other_protocol(record, shown) else None
    return Job(
        record=record,
        correct=correct,
        shown=usable,
        versus_baseline=usable.versus_baseline() if usable else None,
        versus_expert=usable.versus_expert() if usable else None,
        fraction_of_ceiling=(
            usable.fraction_of_ceiling(usable.evaluation.candidate) if usable else None
        ),
        where=_where(record, evaluation.mode if evaluation else None, shown),
        error=_error(evaluation),
    )


def _error(evaluation: Evaluation | None) -> str:
    error_ulp = evaluation.candidate.error_ulp if evaluation else None
    if evaluation is None or error_ulp is None:
        return words.MISSING
    place = "interpreter" if evaluation.mode is Mode.INTERPRETER else "GPU"
    return f"{words.ulp(error_ulp)} ({place})"


def other_protocol(record: StudyRecord, shown: view.Timed | None) -> bool:
    """Whether the figures come from an earlier evaluation by another protocol than was chosen."""
    if shown is None or not shown.recorded or shown.evaluation.protocol is None:
        return False
    return shown.evaluation.protocol.name != record.choices.timing


def _where(record: StudyRecord, mode: Mode | None, shown: view.Timed | None) -> str:
    if shown is None or other_protocol(record, shown):
        return "interpreter, not timed" if mode is Mode.INTERPRETER else words.MISSING
    if not shown.recorded:
        return shown.where
    asked = record.evaluation.sizes if record.evaluation else shown.evaluation.sizes
    if shown.evaluation.sizes == asked:
        return f"recorded on {shown.where}"
    sizes = ", ".join(size.label for size in shown.evaluation.sizes)
    return f"recorded on {shown.where}, at {sizes} and not at the sizes asked for"
