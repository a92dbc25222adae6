"""report.md and its pictures, in the order of the study that this project generalises.

Every section is a function from the record to Markdown, and figures come from the record alone.
Does not cover several records side by side: see sweep.
"""

from __future__ import annotations

from pathlib import Path

from tritonexp.records import StudyRecord
from tritonexp.report import (
    ceiling,
    closing,
    code,
    doubt,
    kernel,
    opening,
    plots,
    reproduction,
    speed,
    view,
)


def write(record: StudyRecord, folder: Path) -> None:
    """Write report.md and its pictures into a folder; some of them exist only where they apply."""
    pictures = folder / "plots"
    pictures.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(render(record), encoding="utf-8")
    plots.draw_comparison(record, pictures / "comparison.png")
    plots.draw_key_metric(record, pictures / "llm_vs_expert.png")
    for draw, name in ((plots.draw_ceiling, "ceiling.png"), (plots.draw_rounds, "rounds.png")):
        if not draw(record, pictures / name):
            # of an earlier report in the same folder, which this one does not speak of
            (pictures / name).unlink(missing_ok=True)


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
        doubt.section(shown),
        ceiling.section(record, shown),
        speed.host_times(shown),
        kernel.verification(record, shown),
        kernel.behaviour(record, shown, facts),
        closing.validity(record, shown),
        kernel.code_comparison(record, shown, facts),
        closing.limits(record, shown),
        closing.candidates(record, shown),
        closing.attempts(record),
        reproduction.artifacts(record, shown),
        reproduction.reproduce(record),
        closing.ratings(record, facts),
    )
    return "\n\n".join(section for section in sections if section) + "\n"
