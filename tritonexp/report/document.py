"""report.md and its pictures, in the order of the study that this project generalises.

Every section is a function from the record to Markdown, and figures come from the record alone.
Does not cover several records side by side: see sweep.
"""

from __future__ import annotations

from pathlib import Path

from tritonexp.records import StudyRecord
from tritonexp.report import closing, code, kernel, opening, plots, reproduction, speed, view


def write(record: StudyRecord, folder: Path) -> None:
    """Write report.md, plots/comparison.png and plots/llm_vs_expert.png into a folder."""
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(render(record), encoding="utf-8")
    plots.draw_comparison(record, folder / "plots" / "comparison.png")
    plots.draw_key_metric(record, folder / "plots" / "llm_vs_expert.png")


def render(record: StudyRecord) -> str:
    """The text of report.md."""
    facts = code.analyse(record.attempt.source) if record.attempt.source is not None else None
    shown = view.timed(record)
    sections = (
        opening.heading(record, shown),
        opening.result(record),
        opening.objective(record),
        opening.method(record, shown),
        speed.times(record, shown),
        speed.key_metric(shown),
        speed.speedups(shown),
        speed.host_times(shown),
        kernel.verification(record, shown),
        kernel.behaviour(record, shown, facts),
        closing.validity(record, shown),
        kernel.code_comparison(record, shown, facts),
        closing.limits(record, shown),
        closing.candidates(record, shown),
        closing.attempts(record),
        reproduction.ARTIFACTS,
        reproduction.reproduce(record),
        closing.ratings(record, facts),
    )
    return "\n\n".join(section for section in sections if section) + "\n"
