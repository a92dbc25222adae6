"""Several records side by side: per operation, model and prompt, then every job.

A group's jobs differ in seed or sample only: any other choice that varies within the sweep splits
the groups, so runs of different timing protocols are never pooled. Failures count: in the share
correct, and as 0 in the score. Where a model was asked several times, pass@k is told over all
answers, those that a strategy did not choose included.
Does not cover pooling of figures from different GPUs: the table names the GPUs of each group.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from tritonexp.records import Comparison, Interval, Mode, Outcome, Status, StudyRecord
from tritonexp.report import matching, protocols, protocols_plot, sweep_plot, view, words
from tritonexp.statistics import geometric_mean, pass_at_k, proportion_interval

# choices that split a group where they vary within the sweep
SETTINGS = ("strategy", "sizes", "timing", "expert")
# the k of pass@k that are told where there are as many samples; pass@1 is the share correct
DRAWS = (2, 3, 5, 10)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What a comparison takes from one record."""

    record: StudyRecord
    correct: bool
    recorded: bool  # its speed-ups come from a recorded evaluation
    versus_baseline: Comparison | None
    versus_expert: Comparison | None
    fraction_of_ceiling: float | None
    where: str  # GPU and date of the speed-ups, or "-"
    error_ulp: float | None

    @property
    def score(self) -> float | None:
        """The speed-up over the baseline, 0 for a failure, None where nothing was timed."""
        if not self.correct:
            return 0.0
        if self.versus_baseline is None:
            return None
        return self.versus_baseline.speedup or 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """The jobs of one operation, model, prompt and setting."""

    operation: str
    model: str
    prompt: str
    setting: str  # as in sizes=study, "" where no other choice varies
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
    def samples(self) -> tuple[bool, ...]:
        """Whether each answer of the model was correct; a file of the user's is none.

        A recorded answer counts once, however many jobs judged it: correct where all found it so.
        """
        found: dict[int | tuple[str, int], bool] = {}
        for job in self.jobs:
            for attempt in job.record.attempts:
                if attempt.completion.origin == "file":
                    continue
                # a GPU may have refused what stands for the job
                is_chosen = attempt is job.record.attempt
                correct = job.correct if is_chosen else attempt.status is Status.CORRECT
                key = attempt.completion.sample or (job.record.study_id, attempt.number)
                found[key] = found.get(key, True) and correct
        return tuple(found.values())

    @property
    def recorded(self) -> bool:
        """Whether any speed-up comes from a recorded evaluation."""
        return any(job.recorded for job in self.jobs)

    @property
    def score(self) -> float | None:
        """Arithmetic mean of the jobs' scores; None where a correct job was not timed."""
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


def write_comparison(records: Sequence[StudyRecord], sweep: str, folder: Path) -> dict[str, float]:
    """Write comparison.md and its pictures; returns the figures of the sweep to be logged."""
    if not records:
        raise ValueError(
            f"sweep {sweep!r} has no records to compare; check its id against the logged runs."
        )
    groups = group(records)
    folder.mkdir(parents=True, exist_ok=True)
    matches = matching.matches(records)
    text = render(groups, sweep, protocols.section(matches, records))
    (folder / "comparison.md").write_text(text, encoding="utf-8")
    sweep_plot.draw(groups, sweep, folder / "comparison.png")
    if not protocols_plot.draw(matches, sweep, folder / protocols.PICTURE):
        # of an earlier report in the same folder, which this one does not speak of
        (folder / protocols.PICTURE).unlink(missing_ok=True)
    return metrics(groups)


def group(records: Sequence[StudyRecord]) -> tuple[Group, ...]:
    """Group records by operation, model, prompt and whichever setting varies."""
    varying = [
        name for name in SETTINGS if len({getattr(item.choices, name) for item in records}) > 1
    ]
    found: dict[tuple[str, str, str, str], list[StudyRecord]] = {}
    for record in records:
        choices = record.choices
        setting = " ".join(f"{name}={getattr(choices, name)}" for name in varying)
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


def metrics(groups: Sequence[Group]) -> dict[str, float]:
    """The sweep's figures under flat names; what was not measured is absent.

    Speed-ups that were recorded earlier carry the prefix recorded_.
    """
    jobs = [job for item in groups for job in item.jobs]
    found = {
        "jobs": float(len(jobs)),
        "correct": float(sum(job.correct for job in jobs)),
        "share_correct": sum(job.correct for job in jobs) / len(jobs),
    }
    costs = [job.record.cost_usd for job in jobs]
    if None not in costs:
        found["cost_usd"] = math.fsum(cost for cost in costs if cost is not None)
    for item in groups:
        prefix = f"{item.operation}/{item.model}/{item.prompt}"
        if item.setting:
            prefix += "/" + item.setting.replace("=", "_").replace(" ", "_")
        found[f"{prefix}/share_correct"] = item.correct / len(item.jobs)
        kind = "recorded_" if item.recorded else ""
        if item.score is not None:
            found[f"{prefix}/{kind}score"] = item.score
        for reference in ("baseline", "expert"):
            pooled = item.speedup(reference)
            if pooled is not None:
                found[f"{prefix}/{kind}speedup_vs_{reference}"] = pooled[0]
        if item.fraction_of_ceiling is not None:
            found[f"{prefix}/{kind}fraction_of_ceiling"] = item.fraction_of_ceiling
    return found


def render(groups: Sequence[Group], sweep: str, section: str = "") -> str:
    """The text of comparison.md, with a section on what else the sweep compares."""
    jobs = [job for item in groups for job in item.jobs]
    correct = sum(job.correct for job in jobs)
    started = sorted(job.record.started for job in jobs)
    costs = [job.record.cost_usd for job in jobs]
    total = None if None in costs else math.fsum(cost for cost in costs if cost is not None)
    lines = [
        f"# Comparison of sweep {sweep}",
        "",
        (
            f"- **Jobs:** {len(jobs)} in {words.plural(len(groups), 'group')},"
            f" {correct} correct; failures count in every share and score"
        ),
        f"- **Started:** {started[0]} to {started[-1]}",
        f"- **Cost:** {words.dollars(total)}",
        "",
        "## Groups",
        "",
        (
            "Speed-ups are geometric means over a group's correct jobs, with a 95 % interval: of"
            " the"
            " measurement for one job, over the jobs (t, on logarithms) for more. The score is"
            " the mean"
            " speed-up over the baseline with 0 for each failure. The share correct has a Wilson"
            " interval where there is more than one job."
        ),
    ]
    if any(item.recorded for item in groups):
        lines += [
            "",
            (
                "† Speed-ups recorded earlier on the named GPU for the same source; this sweep"
                " did not"
                " measure them."
            ),
        ]
    lines += ["", _groups_table(groups), "", _cost_table(groups)]
    if any(len(item.samples) > 1 for item in groups):
        lines += [
            "",
            (
                "A sample is one answer of a model, chosen by its strategy or not. pass@k estimates"
                " how often at least one of k samples is correct, without bias, from all samples of"
                " the group; pass@1 is the share correct."
            ),
            "",
            _samples_table(groups),
        ]
    lines += [
        "",
        "![Speed-up over the baseline per model and prompt](comparison.png)",
        "",
        *([section, ""] if section else []),
        "## Every job",
        "",
        _jobs_table(groups),
        "",
    ]
    failures = _failures_table(groups)
    if failures:
        lines += ["## Failures", "", failures, ""]
    return "\n".join(lines)


def _groups_table(groups: Sequence[Group]) -> str:
    return words.table(
        (
            *_head(groups),
            "correct",
            "over the baseline",
            "over the expert",
            "vs baseline: faster / tie / slower / none",
            "score",
            "fraction of ceiling",
            "times from",
        ),
        [
            (
                *_keys(item, groups),
                _share(item.correct, len(item.jobs)),
                _pooled(item, "baseline"),
                _pooled(item, "expert"),
                _tally(item),
                words.ratio(item.score),
                words.fraction(item.fraction_of_ceiling),
                "; ".join(dict.fromkeys(job.where for job in item.jobs if job.where != "-"))
                or words.MISSING,
            )
            for item in groups
        ],
    )


def _cost_table(groups: Sequence[Group]) -> str:
    rows = []
    for item in groups:
        attempts = [attempt for job in item.jobs for attempt in job.record.attempts]
        costs = [job.record.cost_usd for job in item.jobs]
        latencies = [attempt.completion.latency_s for attempt in attempts]
        usages = [attempt.completion.usage for attempt in attempts]
        statuses = [str(job.record.status) for job in item.jobs]
        rows.append(
            (
                *_keys(item, groups),
                ", ".join(f"{name} {statuses.count(name)}" for name in dict.fromkeys(statuses)),
                str(len(attempts)),
                words.dollars(_total(costs)),
                words.number(_mean(latencies), 1),
                words.number(_mean([u.input_tokens if u else None for u in usages]), 0),
                words.number(_mean([u.output_tokens if u else None for u in usages]), 0),
            )
        )
    return words.table(
        (
            *_head(groups),
            "statuses",
            "attempts",
            "cost",
            "mean latency (s)",
            "mean tokens in",
            "mean tokens out",
        ),
        rows,
    )


def _samples_table(groups: Sequence[Group]) -> str:
    several = [item for item in groups if len(item.samples) > 1]
    draws = [k for k in DRAWS if k <= max(len(item.samples) for item in several)]
    return words.table(
        (*_head(groups), "correct samples", *(f"pass@{k}" for k in draws)),
        [
            (
                *_keys(item, groups),
                _share(sum(item.samples), len(item.samples)),
                *(_pass_at(k, item.samples) for k in draws),
            )
            for item in several
        ],
    )


def _pass_at(k: int, samples: Sequence[bool]) -> str:
    n = len(samples)
    return words.fraction(pass_at_k(n, sum(samples), k) if k <= n else None)


def _jobs_table(groups: Sequence[Group]) -> str:
    return words.table(
        (
            *_head(groups),
            "seed",
            "sample",
            "status",
            "over the baseline",
            "over the expert",
            "fraction of ceiling",
            "error (ulp)",
            "cost",
            "study",
        ),
        [
            (
                *_keys(item, groups),
                str(job.record.choices.seed),
                words.count(job.record.attempt.completion.sample),
                str(job.record.status),
                words.verdict(job.versus_baseline) + _mark(job.recorded, job.versus_baseline),
                words.verdict(job.versus_expert) + _mark(job.recorded, job.versus_expert),
                words.fraction(job.fraction_of_ceiling),
                words.ulp(job.error_ulp),
                words.dollars(job.record.cost_usd),
                job.record.study_id,
            )
            for item in groups
            for job in item.jobs
        ],
    )


def _failures_table(groups: Sequence[Group]) -> str:
    rows = [
        (job.record.study_id, item.name, str(job.record.status), view.one_line(_reason(job)))
        for item in groups
        for job in item.jobs
        if not job.correct
    ]
    return words.table(("study", "job", "status", "reason"), rows) if rows else ""


def _reason(job: Job) -> str:
    if job.record.attempt.reason or job.record.recorded_evaluation is None:
        return job.record.attempt.reason or words.MISSING
    recorded = job.record.recorded_evaluation
    return f"{job.where}: {recorded.status}: {recorded.candidate.reason}"


def _job(record: StudyRecord) -> Job:
    shown = view.timed(record)
    evaluation = record.evaluation
    # a candidate that only the interpreter passed and a GPU refused is not correct
    correct = record.status is Status.CORRECT and (
        shown is None or shown.evaluation.status is Status.CORRECT
    )
    # what another protocol recorded is not this job's figure
    usable = shown if correct and not _other_protocol(record, shown) else None
    return Job(
        record=record,
        correct=correct,
        recorded=usable is not None and usable.recorded,
        versus_baseline=usable.versus_baseline() if usable else None,
        versus_expert=usable.versus_expert() if usable else None,
        fraction_of_ceiling=(
            usable.fraction_of_ceiling(usable.evaluation.candidate) if usable else None
        ),
        where=_where(record, evaluation.mode if evaluation else None, shown),
        error_ulp=evaluation.candidate.error_ulp if evaluation else None,
    )


def _other_protocol(record: StudyRecord, shown: view.Timed | None) -> bool:
    """Whether the figures come from an earlier evaluation by another protocol than was chosen."""
    if shown is None or not shown.recorded or shown.evaluation.protocol is None:
        return False
    return shown.evaluation.protocol.name != record.choices.timing


def _where(record: StudyRecord, mode: Mode | None, shown: view.Timed | None) -> str:
    if shown is None or _other_protocol(record, shown):
        return "interpreter, not timed" if mode is Mode.INTERPRETER else words.MISSING
    return f"recorded on {shown.where}" if shown.recorded else shown.where


def _head(groups: Sequence[Group]) -> tuple[str, ...]:
    base = ("operation", "model", "prompt")
    return (*base, "setting") if any(item.setting for item in groups) else base


def _keys(item: Group, groups: Sequence[Group]) -> tuple[str, ...]:
    keys = (item.operation, item.model, item.prompt)
    return (*keys, item.setting) if any(other.setting for other in groups) else keys


def _share(correct: int, of: int) -> str:
    text = f"{correct} of {of}"
    if of == 1:
        return text
    return f"{text}: {correct / of:.2f} {words.span(proportion_interval(correct, of), 2)}"


def _pooled(item: Group, reference: str) -> str:
    pooled = item.speedup(reference)
    if pooled is None:
        return words.MISSING
    if item.correct == 1:
        # one job: its own verdict stands
        only = next(job for job in item.jobs if job.correct)
        comparison: Comparison | None = getattr(only, f"versus_{reference}")
        return words.verdict(comparison) + _mark(item.recorded, comparison)
    return words.ratio(*pooled) + (" †" if item.recorded else "")


def _mark(recorded: bool, comparison: Comparison | None) -> str:
    return " †" if recorded and comparison is not None else ""


def _tally(item: Group) -> str:
    outcomes = [view.outcome_of(job.versus_baseline) for job in item.jobs]
    wins, ties, losses = (
        outcomes.count(word) for word in (Outcome.FASTER, Outcome.TIE, Outcome.SLOWER)
    )
    return f"{wins} / {ties} / {losses} / {len(outcomes) - wins - ties - losses}"


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if known and len(known) == len(values) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None
