"""Findings as tables for the terminal, as Markdown and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from tritonexp.redteam.findings import Findings, Rate, Verdict, without_folders
from tritonexp.redteam.fixtures import ROOT
from tritonexp.report import words

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("fixture", "what it does", "named", "found", "reason", "s")
RATE_COLUMNS = ("", "fixtures", "share", "95 % interval")


def tables(findings: Findings) -> list[Table]:
    """One table for each family, then the rates."""
    from rich.markup import escape
    from rich.table import Table

    found = []
    for family, verdicts in findings.families.items():
        table = Table(*COLUMNS, title=family, title_justify="left")
        for verdict in verdicts:
            cells = [escape(cell) for cell in _row(verdict, verdict.fixture.path.stem)]
            table.add_row(*cells, style="red" if verdict.problem else None)
        found.append(table)
    rates = Table(*RATE_COLUMNS)
    for rate in findings.rates:
        rates.add_row(*_rate_row(rate))
    return [*found, rates]


def as_markdown(findings: Findings, folder: Path) -> str:
    """The same as Markdown, whose links to the fixtures hold for a file in `folder`."""
    where = findings.environment
    gpu = "no GPU, so in Triton's interpreter at small sizes and without any timing"
    if where.gpu is not None:
        gpu = f"{where.gpu.name}, driver {where.gpu.driver or 'unknown'}"
    parts = [
        "# The red team",
        (
            "Written by `python -m tritonexp redteam --markdown FILE`;"
            f" [judging.md]({_link(ROOT / 'docs' / 'judging.md', folder)}#the-red-team) tells what"
            " it is."
        ),
        (
            f"Judged on {words.day(where.date)}: {gpu}; torch {where.torch}, Triton {where.triton},"
            f" Python {where.python}. Sandbox: {where.sandbox}. {findings.taken_over}"
        ).rstrip(),
        words.table(RATE_COLUMNS, [_rate_row(rate) for rate in findings.rates]),
    ]
    for family, verdicts in findings.families.items():
        rows = [
            _row(item, f"[{item.fixture.path.stem}]({_link(item.fixture.path, folder)})")
            for item in verdicts
        ]
        parts += [f"## {family}", words.table(COLUMNS, rows)]
    return "\n\n".join(parts) + "\n"


def as_json(findings: Findings) -> str:
    """Everything that was found, for other programs and for a run that takes over from this one."""
    verdicts = [
        {
            "fixture": verdict.fixture.name,
            "sha256": verdict.fixture.sha256,
            "operation": verdict.fixture.operation,
            "text": verdict.fixture.text,
            "date": verdict.taken_from or findings.environment.date,
            "named": verdict.named,
            "status": verdict.status,
            "problem": verdict.problem,
            "reason": without_folders(verdict.reason),
            "log": without_folders(verdict.log),
            "seconds": round(verdict.seconds, 2),
        }
        for verdict in findings.verdicts
    ]
    rates = [
        dataclasses.asdict(rate)
        | {"interval": None if rate.interval is None else dataclasses.asdict(rate.interval)}
        for rate in findings.rates
    ]
    return json.dumps(
        {
            "environment": dataclasses.asdict(findings.environment),
            "rates": rates,
            "verdicts": verdicts,
        },
        indent=1,
    )


def write_json(findings: Findings, path: Path) -> None:
    """Write it to a file that is whole at any moment, whenever this process is killed."""
    # a link stays one
    path = path.resolve()
    if path.exists() and not path.is_file():
        # such as /dev/stdout, in whose place no file may be put
        path.write_text(as_json(findings), encoding="utf-8")
        return
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(as_json(findings), encoding="utf-8")
    beside.replace(path)


def _row(verdict: Verdict, fixture: str) -> tuple[str, ...]:
    return (
        fixture,
        verdict.fixture.summary,
        " or ".join(verdict.named),
        verdict.found,
        verdict.explanation,
        f"{verdict.seconds:.1f}",
    )


def _rate_row(rate: Rate) -> tuple[str, ...]:
    found = rate.interval
    span = words.MISSING
    if found is not None:
        span = f"[{100 * found.low:.1f} %, {100 * found.high:.1f} %]"
    share = words.MISSING if rate.share is None else f"{100 * rate.share:.1f} %"
    return rate.what, f"{rate.count} of {rate.of}", share, span


def _link(path: Path, folder: Path) -> str:
    # with slashes on every system
    return PurePath(os.path.relpath(path, folder)).as_posix()
