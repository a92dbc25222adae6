"""Several records side by side: per operation, model and prompt, then every job.

A group's jobs differ in seed or sample only: whatever else was set differently within the sweep,
a choice or a key inside of one, splits the groups, so that only repeats are pooled. Failures count:
in the share correct, and as 0 in the score. Jobs that the harness could not do have no record and
count nowhere, but are named.
Does not cover pooling of figures from different GPUs: the table names the GPUs of each group.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from tritonexp.records import Comparison, Outcome, StudyRecord
from tritonexp.report import (
    failures,
    matching,
    protocols,
    protocols_plot,
    rates,
    sweep_plot,
    view,
    words,
)
from tritonexp.report.groups import Group, Job, group, head, keys, share
from tritonexp.report.settings import slugs


def write_comparison(
    records: Sequence[StudyRecord], sweep: str, folder: Path, not_done: Sequence[str] = ()
) -> dict[str, float]:
    """Write comparison.md and its pictures; returns the figures of the sweep to be logged.

    `not_done` are the jobs that the harness could not do, each as "job: why".
    """
    if not records:
        raise ValueError(
            f"sweep {sweep!r} has no records to compare; check its id against the logged runs."
        )
    groups = group(records)
    folder.mkdir(parents=True, exist_ok=True)
    matches = matching.matches(records)
    text = render(groups, sweep, protocols.section(matches, records), not_done)
    (folder / "comparison.md").write_text(text, encoding="utf-8")
    sweep_plot.draw(groups, sweep, folder / "comparison.png")
    if not protocols_plot.draw(matches, sweep, folder / protocols.PICTURE):
        # of an earlier report in the same folder, which this one does not speak of
        (folder / protocols.PICTURE).unlink(missing_ok=True)
    return metrics(groups, not_done)


def metrics(groups: Sequence[Group], not_done: Sequence[str] = ()) -> dict[str, float]:
    """The sweep's figures under flat names; what was not measured is absent.

    Speed-ups that were recorded earlier carry the prefix recorded_.
    """
    jobs = [job for item in groups for job in item.jobs]
    found = {
        "jobs": float(len(jobs)),
        "correct": float(sum(job.correct for job in jobs)),
        "share_correct": sum(job.correct for job in jobs) / len(jobs),
    }
    if not_done:
        found["not_done"] = float(len(not_done))
    settings = slugs(item.setting for item in groups)
    costs = [job.record.cost_usd for job in jobs]
    if None not in costs:
        found["cost_usd"] = math.fsum(cost for cost in costs if cost is not None)
    for item in groups:
        prefix = f"{item.operation}/{item.model}/{item.prompt}"
        if item.setting:
            prefix += f"/{settings[item.setting]}"
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


def render(
    groups: Sequence[Group], sweep: str, section: str = "", not_done: Sequence[str] = ()
) -> str:
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
        *(
            [f"- **Not done:** {len(not_done)} of {len(jobs) + len(not_done)}; see below why"]
            if not_done
            else []
        ),
        f"- **Started:** {started[0]} to {started[-1]}",
        f"- **Cost:** {words.dollars(total)}",
        *_untimed_choices(jobs),
        "",
        "## Groups",
        "",
        (
            "Speed-ups are geometric means over a group's correct jobs, with a 95 % interval: of"
            " the"
            " measurement for one job, over the jobs (t, on logarithms) for more. The score is"
            " the mean"
            " speed-up over the baseline with 0 for each failure. The share correct has a Wilson"
            " interval where there is more than one job. A ratio above 1x means that the"
            " generated kernel is faster than what it is compared with, below 1x that it is slower."
        ),
    ]
    if any(item.recorded for item in groups):
        lines += [
            "",
            (
                "† From speed-ups recorded earlier on the named GPU for the same source; this sweep"
                " did not"
                " measure them."
            ),
        ]
    lines += ["", _groups_table(groups), "", _cost_table(groups)]
    lines += [
        "",
        "![Speed-up over the baseline per model and prompt](comparison.png)",
        "",
        *(line for part in (rates.section(groups), section) if part for line in (part, "")),
        "## Every job",
        "",
        _jobs_table(groups),
        "",
    ]
    lines += [*failures.section(groups), *failures.not_done(not_done)]
    return "\n".join(lines)


def _groups_table(groups: Sequence[Group]) -> str:
    return words.table(
        (
            *head(groups),
            "correct",
            "over the baseline",
            "over the expert",
            "vs baseline: faster / tie / slower / none",
            "vs expert: faster / tie / slower / none",
            "score",
            "fraction of ceiling",
            "times from",
        ),
        [
            (
                *keys(item, groups),
                share(item.correct, len(item.jobs)),
                _pooled(item, "baseline"),
                _pooled(item, "expert"),
                _tally(job.versus_baseline for job in item.jobs),
                _tally(job.versus_expert for job in item.jobs),
                words.ratio(item.score) + (" †" if item.recorded and item.score else ""),
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
                *keys(item, groups),
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
            *head(groups),
            "statuses",
            "attempts",
            "cost",
            "mean latency (s)",
            "mean tokens in",
            "mean tokens out",
        ),
        rows,
    )


def _jobs_table(groups: Sequence[Group]) -> str:
    return words.table(
        (
            *head(groups),
            "seed",
            "sample",
            "status",
            "over the baseline",
            "over the expert",
            "fraction of ceiling",
            "error (ulp, where)",
            "cost",
            "study",
        ),
        [
            (
                *keys(item, groups),
                str(job.record.choices.seed),
                words.count(job.record.attempt.completion.sample),
                str(job.record.status),
                words.verdict(job.versus_baseline) + _mark(job.recorded, job.versus_baseline),
                words.verdict(job.versus_expert) + _mark(job.recorded, job.versus_expert),
                words.fraction(job.fraction_of_ceiling),
                job.error,
                words.dollars(job.record.cost_usd),
                job.record.study_id,
            )
            for item in groups
            for job in item.jobs
        ],
    )


def _untimed_choices(jobs: Sequence[Job]) -> list[str]:
    """That answers were not chosen by their speed, where they were to be."""
    amount = sum(view.first_correct_stands(job.record) for job in jobs)
    if not amount:
        return []
    text = f"in {words.plural(amount, 'job')} of strategy {view.FASTEST_OF_SEVERAL} nothing was"
    return [
        f"- **Not timed:** {text} timed, so the first correct answer was taken, not the fastest"
    ]


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


def _tally(items: Iterable[Comparison | None]) -> str:
    outcomes = [view.outcome_of(item) for item in items]
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
