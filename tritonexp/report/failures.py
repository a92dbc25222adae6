"""What went wrong in a sweep: attempts that were not correct, and jobs that were not done.

Does not cover the cases and the log of a failure, which its own report has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tritonexp.records import Status
from tritonexp.report import view, words
from tritonexp.report.groups import Group, Job

HEADER = ("study", "job", "attempt", "status", "reason")


def section(groups: Sequence[Group]) -> list[str]:
    """The lines on attempts that were not correct, whether they stand for their job or not."""
    rows = [row for item in groups for job in item.jobs for row in _rows(job, item.name)]
    if not rows:
        return []
    told = "Every attempt that was not correct, those that were not chosen included:"
    return ["## Failures", "", told, "", words.table(HEADER, rows), ""]


def not_done(jobs: Sequence[str]) -> list[str]:
    """The lines on jobs that the harness could not do, each given as "job: why"."""
    if not jobs:
        return []
    told = "Jobs that the harness could not do, which count in no figure above:"
    return ["## Not done", "", told, "", *(f"- {_on_one_line(text)}" for text in jobs), ""]


def _rows(job: Job, name: str) -> Iterator[tuple[str, ...]]:
    record = job.record
    of = len(record.attempts)
    for attempt in record.attempts:
        chosen = attempt is record.attempt
        # a GPU may have refused what stands for the job
        if job.correct if chosen else attempt.status is Status.CORRECT:
            continue
        yield (
            record.study_id,
            name,
            f"{attempt.number} of {of}" + (" (chosen)" if chosen and of > 1 else ""),
            str(attempt.status),
            view.one_line(_reason(job) if chosen else attempt.reason) or words.MISSING,
        )


def _reason(job: Job) -> str:
    recorded = job.record.recorded_evaluation
    if job.record.attempt.reason or recorded is None:
        return job.record.attempt.reason
    return f"{job.where}: {recorded.status}: {recorded.candidate.reason}"


def _on_one_line(text: str) -> str:
    # what is in angle brackets would be taken for HTML, and not shown
    return " ".join(text.split()).replace("<", "\\<")
