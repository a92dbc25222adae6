"""What the referee found of the fixtures: each verdict against its header, and the rates of all."""

from __future__ import annotations

import os
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tritonexp import statistics
from tritonexp.records import Environment, Interval, Status
from tritonexp.redteam.fixtures import ROOT, Fixture
from tritonexp.report import words

REASON_CHARS = 120


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the referee found of a fixture."""

    fixture: Fixture
    named: tuple[Status, ...]
    status: Status | None  # None where the referee raised instead of judging
    reason: str
    log: str
    seconds: float
    # what became of a right kernel that was judged next; "" where it was CORRECT or not asked for
    aftermath: str
    # when that earlier run began, in ISO, which it was taken over from; "" where this run judged it
    taken_from: str = ""

    @property
    def problem(self) -> str:
        """What is wrong with the referee, or with the fixture's header; "" where nothing is."""
        fault = ""
        if self.status is None:
            fault = "the referee raised"
        elif self.fixture.is_cheat and self.status is Status.CORRECT:
            fault = "a cheat was believed"
        elif not self.fixture.is_cheat and self.status is not Status.CORRECT:
            fault = "an honest kernel was refused"
        elif self.status not in self.named:
            fault = "caught by another status than named"
        return "; ".join(part for part in (fault, self.aftermath) if part)

    @property
    def found(self) -> str:
        """The status, or that there is none."""
        return "none" if self.status is None else self.status.value

    @property
    def explanation(self) -> str:
        """The reason on one short line, behind the problem where there is one."""
        told = without_folders(": ".join(part for part in (self.problem, self.reason) if part))
        return textwrap.shorten(told, REASON_CHARS, placeholder=" ...")

    def __str__(self) -> str:
        """One line, for a run's progress."""
        line = f"{'WRONG' if self.problem else 'ok':<5} {self.fixture.name}: {self.found}"
        told = f" ({self.explanation})" if self.problem else ""
        return f"{line} in {self.seconds:.1f} s{told}"


def without_folders(told: str) -> str:
    """What names files, without where this machine keeps them, which is nobody's business."""
    folders = {str(ROOT), sys.prefix, str(Path.home()), tempfile.gettempdir(), *sys.path}
    # the longest first, since one of these folders may lie in another
    for folder in sorted(folders - {"", "."}, key=len, reverse=True):
        told = told.replace(f"{folder}{os.sep}", "")
    return told


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A share of fixtures with its 95 % Wilson interval."""

    what: str
    count: int
    of: int

    @property
    def share(self) -> float | None:
        """None where there were no such fixtures."""
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> Interval | None:
        """None where there were no such fixtures."""
        return statistics.proportion_interval(self.count, self.of) if self.of else None


@dataclass(frozen=True, kw_only=True)
class Findings:
    """A run of the red team, whole or as far as it has come."""

    environment: Environment
    verdicts: tuple[Verdict, ...]

    @property
    def problems(self) -> tuple[Verdict, ...]:
        """The verdicts that are not as they must be."""
        return tuple(verdict for verdict in self.verdicts if verdict.problem)

    @property
    def rates(self) -> tuple[Rate, Rate, Rate]:
        """Catch rate, exact rate and false-alarm rate.

        A fixture that the referee raised on counts against it: a cheat as not caught, an honest
        kernel as refused.
        """
        cheats = [verdict for verdict in self.verdicts if verdict.fixture.is_cheat]
        honest = [verdict for verdict in self.verdicts if not verdict.fixture.is_cheat]
        caught = [item for item in cheats if item.status not in (None, Status.CORRECT)]
        exact = [item for item in caught if item.status in item.named]
        refused = [item for item in honest if item.status is not Status.CORRECT]
        return (
            Rate(what="cheats caught", count=len(caught), of=len(cheats)),
            Rate(what="cheats caught by the named status", count=len(exact), of=len(cheats)),
            Rate(what="honest kernels refused", count=len(refused), of=len(honest)),
        )

    @property
    def taken_over(self) -> str:
        """How many verdicts are of earlier runs, and of when, as a sentence; "" where none is."""
        dates = [verdict.taken_from for verdict in self.verdicts if verdict.taken_from]
        if not dates:
            return ""
        runs = "a run" if len(set(dates)) == 1 else "runs"
        days = " and ".join(sorted({words.day(date) for date in dates}))
        return (
            f"{len(dates)} of {len(self.verdicts)} verdicts were taken over from {runs} of {days}."
        )

    @property
    def families(self) -> dict[str, list[Verdict]]:
        """The verdicts by family, the honest kernels last."""

        def place(verdict: Verdict) -> tuple[bool, str]:
            return not verdict.fixture.is_cheat, verdict.fixture.name

        ordered = sorted(self.verdicts, key=place)
        return {
            family: list(group)
            for family, group in groupby(ordered, key=lambda verdict: verdict.fixture.family)
        }
