"""Which verdicts of a record are doubtful, and why: by their interval, or by the GPU's clocks.

Does not cover the verdict over all sizes, which has no rounds of its own.
"""

from __future__ import annotations

import dataclasses

from tritonexp import statistics
from tritonexp.records import ClockLog, Comparison, Interval, Size
from tritonexp.report import view, words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doubt:
    """A verdict on the candidate at one size, with the rounds that it comes from."""

    comparison: Comparison
    size: Size
    interval: Interval
    ratios: tuple[float, ...]  # the reference's time over the candidate's, in the rounds' order
    reason: str
    log: ClockLog | None

    @property
    def unsteady(self) -> frozenset[int]:
        """The rounds, from 0, in which the GPU was unsteady."""
        return frozenset(self.log.unsteady if self.log else ())

    @property
    def sm_mhz(self) -> tuple[int | None, ...]:
        """The SM clock after each round; none where no clock was read."""
        samples = self.log.samples if self.log else ()
        found = tuple(None if one is None else one.sm_mhz for one in samples)
        return found if any(mhz is not None for mhz in found) else ()


def margins(margin: float) -> tuple[float, float]:
    """The two ratios between which a verdict is a tie."""
    return 1 / (1 + margin), 1 + margin


def compared(shown: view.Timed) -> list[Comparison]:
    """The verdicts on the candidate at single sizes, in the order of the sizes."""
    return [
        item
        for size in shown.evaluation.sizes
        for reference in shown.evaluation.references
        if (item := shown.comparison(reference.implementation.name, size)) is not None
        and item.interval is not None
    ]


def doubts_of(shown: view.Timed) -> tuple[Doubt, ...]:
    """The doubtful among them: an interval over an edge of the margin, or unsteady rounds."""
    found = (_doubt_of(shown, item) for item in compared(shown))
    return tuple(doubt for doubt in found if doubt is not None)


def section(shown: view.Timed | None) -> str:
    """The report's section: each doubtful verdict with its reason, and the picture."""
    if shown is None:
        return ""
    lines = [f"## Doubtful verdicts ({shown.label})", ""]
    verdicts, doubts = compared(shown), doubts_of(shown)
    edge = "" if shown.margin is None else f" of {words.percent(shown.margin)}"
    if not verdicts:
        return "\n".join([*lines, f"{words.MISSING} (there is no verdict on the candidate)"])
    if not doubts:
        told = (
            f"None of {words.plural(len(verdicts), 'verdict')} at single sizes: no interval reaches"
            f" over an edge of the margin{edge}, and no round is known to have been unsteady."
        )
        return "\n".join([*lines, told])
    return "\n".join(
        [
            *lines,
            (
                f"{len(doubts)} of {words.plural(len(verdicts), 'verdict')} at single sizes: the"
                f" interval reaches over an edge of the margin{edge}, or the GPU was unsteady in a"
                " round."
            ),
            "",
            words.table(
                ("size", "candidate over", "speed-up", "rounds", "why doubtful"),
                [
                    (
                        item.size.label,
                        item.comparison.reference,
                        words.verdict(item.comparison),
                        words.count(len(item.ratios)),
                        item.reason,
                    )
                    for item in doubts
                ],
            ),
            "",
            "![Ratios of the doubtful verdicts, round by round](plots/rounds.png)",
        ]
    )


def _doubt_of(shown: view.Timed, item: Comparison) -> Doubt | None:
    evaluation, size, interval = shown.evaluation, item.size, item.interval
    if size is None or interval is None:
        return None
    subject = evaluation.candidate.timing_at(size)
    reference = next(
        one for one in evaluation.references if one.implementation.name == item.reference
    ).timing_at(size)
    if subject is None or reference is None:
        return None
    ratios = tuple(statistics.paired_ratios(subject, reference))
    log = next((one for one in evaluation.clock_logs if one.size == size), None)
    if log is not None:
        # what came after them is another verdict's
        log = dataclasses.replace(
            log,
            samples=log.samples[: len(ratios)],
            unsteady=tuple(number for number in log.unsteady if number < len(ratios)),
        )
    reason = "; ".join([*_edges_crossed(interval, shown.margin), *_unsteadiness(log)])
    if not reason:
        return None
    return Doubt(
        comparison=item, size=size, interval=interval, ratios=ratios, reason=reason, log=log
    )


def _edges_crossed(interval: Interval, margin: float | None) -> list[str]:
    edges = () if margin is None else margins(margin)
    crossed = [f"{edge:.3f}" for edge in edges if interval.low <= edge <= interval.high]
    return [f"interval crosses {' and '.join(crossed)}"] if crossed else []


def _unsteadiness(log: ClockLog | None) -> list[str]:
    if log is None:
        return []
    counts = (
        (log.measured_again, "measured again"),
        (len(log.unsteady), "left unsteady"),
    )
    return [f"{words.plural(amount, 'round')} {what}" for amount, what in counts if amount]
