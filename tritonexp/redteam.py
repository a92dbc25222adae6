"""The red team: files that cheat, and honest ones that look as if they did, before the referee.

A fixture is a candidate file, cheats/<family>/<name>.py or honest/<name>.py, whose docstring says
what it does and ends in a paragraph of its own:

    operation: softmax
    status: INCORRECT or STALE_RESULT
    interpreter: INCORRECT

`status` names what the referee must find on a GPU, `interpreter` what without one; a fixture that
has no such line is left out there.

Does not cover cheats that nobody has thought of, what a cheat does to the machine beside fooling
the referee, or a referee that hangs: of a run that was killed, the verdicts given so far remain.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import json
import os
import re
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from tritonexp import operations, statistics
from tritonexp.errors import ConfigError
from tritonexp.records import (
    Clock,
    Environment,
    Evaluation,
    Implementation,
    Interval,
    Mode,
    Provenance,
    Role,
    Status,
    TimingProtocol,
)
from tritonexp.report import words

if TYPE_CHECKING:
    from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "redteam"

CHEATS, HONEST = "cheats", "honest"
# of cheats that are after the referee itself rather than after a verdict
ATTACK = "attack"
HEADER = ("operation", "status", "interpreter")

# the study's smaller two: enough to see whether a kernel is caught, whatever its speed
LADDER = ((1024, 1024), (2048, 2048))
# conf/timing/device.yaml with few rounds, since no speed is told here
PROTOCOL = TimingProtocol(
    name="device",
    clock=Clock.GRAPH,
    rounds=8,
    window_us=2000.0,
    host_calls=5,
    cold_factor=4.0,
    margin=0.01,
    max_clock_disagreement=0.05,
    max_fraction_of_ceiling=1.0526,
)
# many fixtures sleep or loop for minutes, and an honest call takes milliseconds
TIMEOUT_S = 10.0

REASON_CHARS = 120
COLUMNS = ("fixture", "what it does", "named", "found", "reason", "s")


class Judge(Protocol):
    """What the red team asks of an opened referee."""

    def wait_ready(self) -> None:
        """Return once it can judge at once."""

    def evaluate(self, candidate: Implementation) -> Evaluation:
        """Judge a candidate."""

    def close(self) -> None:
        """End what it started."""


@dataclass(frozen=True, kw_only=True)
class Fixture:
    """A candidate file, and what the referee must find of it."""

    path: Path
    family: str  # a folder of cheats/, or honest
    operation: str
    statuses: tuple[Status, ...]
    interpreter_statuses: tuple[Status, ...]  # () where it needs a GPU
    text: str  # its docstring without the header, on one line

    @property
    def name(self) -> str:
        """As in attack/sleeps."""
        return f"{self.family}/{self.path.stem}"

    @property
    def is_cheat(self) -> bool:
        """Whether it must not be CORRECT; else it must."""
        return self.family != HONEST

    @property
    def summary(self) -> str:
        """The first sentence of its docstring."""
        return re.split(r"(?<=\.)\s", self.text, maxsplit=1)[0]

    def named(self, mode: Mode) -> tuple[Status, ...]:
        """The statuses that are right; () where it cannot be judged."""
        return self.statuses if mode is Mode.GPU else self.interpreter_statuses

    def candidate(self) -> Implementation:
        """The file as the referee takes it."""
        return Implementation(
            name="candidate",
            role=Role.CANDIDATE,
            source=self.path.read_text(encoding="utf-8"),
            entry_point=self.operation,
            provenance=Provenance(
                origin="file", name=self.path.name, version=None, licence=None, location=None
            ),
        )


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
        told = ": ".join(part for part in (self.problem, self.reason) if part)
        return textwrap.shorten(told, REASON_CHARS, placeholder=" ...")

    def __str__(self) -> str:
        """One line, for a run's progress."""
        line = f"{'WRONG' if self.problem else 'ok':<5} {self.fixture.name}: {self.found}"
        told = f" ({self.explanation})" if self.problem else ""
        return f"{line} in {self.seconds:.1f} s{told}"


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

    @property
    def row(self) -> tuple[str, str, str, str]:
        """What it is, how many of how many, the share and its interval."""
        found = self.interval
        span = words.MISSING
        if found is not None:
            span = f"[{100 * found.low:.1f} %, {100 * found.high:.1f} %]"
        share = words.MISSING if self.share is None else f"{100 * self.share:.1f} %"
        return self.what, f"{self.count} of {self.of}", share, span


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
    def families(self) -> dict[str, list[Verdict]]:
        """The verdicts by family, the honest kernels last."""

        def place(verdict: Verdict) -> tuple[bool, str]:
            return not verdict.fixture.is_cheat, verdict.fixture.name

        ordered = sorted(self.verdicts, key=place)
        return {
            family: list(group)
            for family, group in groupby(ordered, key=lambda verdict: verdict.fixture.family)
        }


def read(path: Path, folder: Path) -> Fixture:
    """Read a fixture of a folder; raises ConfigError, which names the file, for a bad header."""
    family = _family(path, folder)
    try:
        docstring = ast.get_docstring(ast.parse(path.read_bytes()))
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{path} is no Python file: {error}; correct it.") from error
    if docstring is None:
        raise ConfigError(
            f"{path} has no docstring; a fixture's says what it does and ends in a paragraph with"
            f" the lines {_lines(HEADER[:2])}."
        )
    text, _, header = docstring.rpartition("\n\n")
    fields = _fields(path, header)
    if not text.strip():
        raise ConfigError(
            f"{path} does not say what it does; put a sentence and an empty line above the header."
        )
    if fields["operation"] not in operations.names():
        raise ConfigError(
            f"{path} is for the operation {fields['operation']!r}; there are"
            f" {', '.join(operations.names())}."
        )
    named = {key: _statuses(path, key, fields[key]) for key in HEADER[1:] if key in fields}
    for key, statuses in named.items():
        if family == HONEST and statuses != (Status.CORRECT,):
            raise ConfigError(
                f"{path} has {key}: {fields[key]}, but an honest kernel is CORRECT; correct it, or"
                f" move the file to {CHEATS}/<family>/."
            )
        if family != HONEST and Status.CORRECT in statuses:
            raise ConfigError(
                f"{path} has {key}: {fields[key]}, but a cheat is never to be CORRECT; name what"
                " must catch it, and leave the line interpreter: out where only a GPU can."
            )
    return Fixture(
        path=path,
        family=family,
        operation=fields["operation"],
        statuses=named["status"],
        interpreter_statuses=named.get("interpreter", ()),
        text=" ".join(text.split()),
    )


def read_folder(folder: Path, only: str | None = None) -> tuple[Fixture, ...]:
    """Read the fixtures of a folder whose path ends in what a glob matches, such as attack/*.

    Raises ConfigError, for all bad headers at once, and where there is no fixture.
    """
    if not folder.is_dir():
        reason = (
            "the fixtures come with the project's repository and are not installed with the"
            " package, so run this from a clone, or give a folder"
            if folder == FOLDER
            else f"give a folder that holds {CHEATS}/<family>/*.py and {HONEST}/*.py"
        )
        raise ConfigError(f"there is no folder {folder}; {reason}.")
    found: list[Fixture] = []
    faults: list[str] = []
    for path in sorted(folder.rglob("*.py")):
        try:
            found.append(read(path, folder))
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
    chosen = tuple(item for item in found if only is None or _is_match(item.path, only))
    if not chosen:
        families = ", ".join(sorted({item.family for item in found})) or "none"
        that = "" if only is None else f" that --only {only!r} matches"
        raise ConfigError(
            f"{folder} has no fixture{that}; its families are: {families}. One is chosen as in"
            f" --only '{ATTACK}/*'."
        )
    return chosen


def mode_here() -> Mode:
    """Where kernels are judged on this machine."""
    from tritonexp.evaluation import environment

    return Mode.GPU if environment.find_gpu() else Mode.INTERPRETER


def environment_here(*, sandbox: bool) -> Environment:
    """Where a run is made that starts now."""
    from tritonexp.evaluation import confinement, environment
    from tritonexp.evaluation.sandbox import DESCRIPTION_OF_OFF

    return environment.describe(
        environment.find_gpu(), confinement.description() if sandbox else DESCRIPTION_OF_OFF
    )


def applying(fixtures: Sequence[Fixture], mode: Mode) -> tuple[Fixture, ...]:
    """The fixtures that can be judged, by operation; raises ConfigError where there is none."""
    found = [fixture for fixture in fixtures if fixture.named(mode)]
    if not found:
        raise ConfigError(
            f"of {words.plural(len(fixtures), 'fixture')} none can be judged without a GPU; run"
            " on a machine with one, or choose fixtures with a line interpreter:."
        )
    return tuple(sorted(found, key=lambda fixture: fixture.operation))


def judge(
    fixtures: Sequence[Fixture],
    mode: Mode,
    *,
    sandbox: bool = True,
    timeout_s: float = TIMEOUT_S,
) -> Iterator[Verdict]:
    """Judge those fixtures that apply, each verdict as soon as it is there.

    Raises what opening a referee raises, and nothing after that: a referee that then breaks is a
    finding.
    """
    for name, group in groupby(applying(fixtures, mode), key=lambda fixture: fixture.operation):
        with Bench(operations.load(name), mode, sandbox=sandbox, timeout_s=timeout_s) as bench:
            for fixture in group:
                yield bench.judge(fixture)


class Bench:
    """One referee before which the fixtures of an operation come one after another."""

    def __init__(
        self,
        operation: operations.Operation,
        mode: Mode,
        *,
        sandbox: bool = True,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.operation = operation
        self.mode = mode
        self._arguments: dict[str, Any] = {
            "operation": operation,
            "sizes": tuple(operation.spec.size(extents) for extents in LADDER),
            "protocol": PROTOCOL,
            "expert": "none",
            "contenders": (),
            "timeout_s": timeout_s,
            "sandbox": sandbox,
        }
        self._referee: Judge | None = None

    def __enter__(self) -> Self:
        self._opened()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._drop()

    def judge(self, fixture: Fixture) -> Verdict:
        """Judge a fixture and, after an attack, a right kernel by the same referee."""
        begin = time.perf_counter()
        status, reason, log = self._evaluate(fixture.candidate())
        seconds = time.perf_counter() - begin
        return Verdict(
            fixture=fixture,
            named=fixture.named(self.mode),
            status=status,
            reason=reason,
            log=log,
            seconds=seconds,
            aftermath=self._aftermath() if fixture.family == ATTACK else "",
        )

    def _aftermath(self) -> str:
        house = next(item for item in self.operation.contenders if item.name == "house")
        right = dataclasses.replace(house, name="candidate", role=Role.CANDIDATE)
        status, reason, _ = self._evaluate(right)
        if status is Status.CORRECT:
            return ""
        found = "none" if status is None else status.value
        return f"a right kernel after it was not CORRECT but {found} ({reason})"

    def _evaluate(self, candidate: Implementation) -> tuple[Status | None, str, str]:
        try:
            trial = self._opened().evaluate(candidate).candidate
        except Exception as error:  # noqa: BLE001 - whatever makes the referee raise is a finding
            self._drop()
            return None, f"{type(error).__name__}: {error}", traceback.format_exc()
        return trial.status, trial.reason, trial.log

    def _opened(self) -> Judge:
        if self._referee is None:
            self._referee = _referee()(**self._arguments)
            # so that no fixture's time holds the imports
            self._referee.wait_ready()
        return self._referee

    def _drop(self) -> None:
        """Close the referee; the next fixture gets a new one."""
        referee, self._referee = self._referee, None
        # one that broke has been told of; that it cannot be closed either adds nothing
        with contextlib.suppress(Exception):
            if referee is not None:
                referee.close()


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
    rates = Table("", "fixtures", "share", "95 % interval")
    for rate in findings.rates:
        rates.add_row(*rate.row)
    return [*found, rates]


def document(findings: Findings, folder: Path) -> str:
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
            f" Python {where.python}. Sandbox: {where.sandbox}."
        ),
        words.table(("", "fixtures", "share", "95 % interval"), [r.row for r in findings.rates]),
    ]
    for family, verdicts in findings.families.items():
        rows = [
            _row(item, f"[{item.fixture.path.stem}]({_link(item.fixture.path, folder)})")
            for item in verdicts
        ]
        parts += [f"## {family}", words.table(COLUMNS, rows)]
    # reasons name files, and where this machine keeps them is nobody's business
    return ("\n\n".join(parts) + "\n").replace(f"{ROOT}{os.sep}", "")


def as_json(findings: Findings) -> str:
    """Everything that was found, for other programs."""
    verdicts = [
        {
            "fixture": verdict.fixture.name,
            "operation": verdict.fixture.operation,
            "text": verdict.fixture.text,
            "named": verdict.named,
            "status": verdict.status,
            "problem": verdict.problem,
            "reason": verdict.reason,
            "log": verdict.log,
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


def _referee() -> Callable[..., Judge]:
    from tritonexp.evaluation import Referee

    return Referee


def _family(path: Path, folder: Path) -> str:
    match path.relative_to(folder).parent.parts:
        case (only,) if only == HONEST:
            return HONEST
        case (first, family) if first == CHEATS and family != HONEST:
            return family
    raise ConfigError(
        f"{path} lies neither in {CHEATS}/<family>/ nor in {HONEST}/ of {folder}; move it there, or"
        " give the folder that holds both and choose by --only."
    )


def _fields(path: Path, header: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in header.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key not in HEADER or not value:
            raise ConfigError(
                f"{path} has the line {line!r} in its docstring's last paragraph, which holds"
                f" {_lines(HEADER)} and nothing else; put an empty line above the header."
            )
        if key in fields:
            raise ConfigError(
                f"{path} has the line {key}: twice; give one, with several statuses joined by or."
            )
        fields[key] = value
    for key in HEADER[:2]:
        if key not in fields:
            raise ConfigError(
                f"{path} has no line {key}: in its docstring's last paragraph; add one, as in"
                f" {'softmax' if key == 'operation' else 'INCORRECT or STALE_RESULT'}."
            )
    return fields


def _statuses(path: Path, key: str, value: str) -> tuple[Status, ...]:
    names = value.split(" or ")
    for name in names:
        if name not in Status.__members__:
            raise ConfigError(
                f"{path} has {key}: {value}, but there is no status {name!r}; there are"
                f" {', '.join(Status)}, and several are joined by or."
            )
    return tuple(Status[name] for name in names)


def _lines(keys: Sequence[str]) -> str:
    return ", ".join(f"{key}:" for key in keys)


def _is_match(path: PurePath, glob: str) -> bool:
    return path.match(glob) or path.with_suffix("").match(glob)


def _row(verdict: Verdict, fixture: str) -> tuple[str, ...]:
    return (
        fixture,
        verdict.fixture.summary,
        " or ".join(verdict.named),
        verdict.found,
        verdict.explanation,
        f"{verdict.seconds:.1f}",
    )


def _link(path: Path, folder: Path) -> str:
    # with slashes on every system
    return PurePath(os.path.relpath(path, folder)).as_posix()
