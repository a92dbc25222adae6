"""What a run shows while it works and when it is done.

Progress goes to stderr and results to stdout, so that results can be piped.
Does not decide what is said: the rows and sentences come from report/ and study.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tritonexp.records import Status

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console
    from rich.status import Status as Spinner

    from tritonexp.config import TrackingConfig
    from tritonexp.records import StudyRecord
    from tritonexp.study import Finished


class Terminal:
    """A spinner on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console: Console = Console(stderr=True, highlight=False)
        self._status: Spinner | None = None
        self._stage = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status = self._console.status("")
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def progress(self, text: str) -> None:
        """Show what is being done now."""
        from rich.markup import escape

        if self._status is not None:
            self._status.update(escape(text))
            return
        # a log has a line for each stage; what follows the comma only counts the stage's steps
        stage = text.partition(",")[0]
        if stage != self._stage:
            self.note(text)
        self._stage = stage

    def note(self, text: str) -> None:
        """Show a line that stays."""
        self._console.print(text, markup=False, soft_wrap=True)


def show(*items: object) -> None:
    """Print results; a table keeps its columns where the output is no terminal."""
    from rich.console import Console

    # a pipe has no width, and rich would take 80 columns and cut the table
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    for item in items:
        if isinstance(item, str):
            # a sentence is printed as it is; the cells of a table may hold markup
            console.print(item, markup=False, soft_wrap=True)
        else:
            console.print(item)


def tell_interrupted(tracking: TrackingConfig | None, sweep: str | None) -> None:
    """Say what waits after an interrupt, in a sweep of that id, and how to go on.

    `tracking` is None where no job had begun.
    """
    from tritonexp import answers, commands, jobs

    lines = ["interrupted"]
    if tracking is not None:
        home = Path(tracking.folder)
        kept = (
            (len(jobs.waiting(home)), "records that are not logged", jobs.pending_in(home)),
            (len(answers.waiting(home)), "answers that were paid for", answers.answers_in(home)),
        )
        waits = [f"{what} in {place}: {amount}" for amount, what, place in kept if amount]
        lines += waits or ["nothing waits: no record to be logged, and no answer that was paid for"]
        lines += [f"to log and to list them: {commands.log(home)}"] if waits else []
        if sweep is not None:
            lines.append(f"sweep {sweep}; to compare its jobs that are done:")
            lines.append(f"  {commands.report(sweep, tracking)}")
    print(*lines, sep="\n", file=sys.stderr)  # noqa: T201


def show_finished(finished: Finished) -> None:
    """Print a study's table and where it is; raises what kept it out of MLflow."""
    from tritonexp import report

    record = finished.record
    show(report.summary_table(record))
    # of a failure, the line above the table has said it all
    if record.status is Status.CORRECT:
        show(report.headline(record))
    if lacking := _lacking(record):
        show(lacking)
    show(f"report: {finished.report}", f"open the UI: {finished.ui_command}")
    if finished.tracking_error is not None:
        raise finished.tracking_error


def _lacking(record: StudyRecord) -> str | None:
    """At which of the sizes asked for no times are shown, beside those that are."""
    from tritonexp.recorded import lacking_sizes

    own, recorded = record.evaluation, record.recorded_evaluation
    if own is None or recorded is None or not (lacking := lacking_sizes(own.sizes, recorded)):
        return None
    there, absent = (", ".join(size.label for size in item) for item in (recorded.sizes, lacking))
    return f"these figures are of {there}: none was recorded at {absent}"
