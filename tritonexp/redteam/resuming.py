"""Take over what an earlier run wrote of the fixtures whose verdicts would be the same again.

Does not cover a referee, an operation or a kernel that was edited while tritonexp's version stayed:
what a run writes does not tell of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tritonexp.errors import ConfigError
from tritonexp.records import Environment, Mode, Status, fault_of, from_json
from tritonexp.redteam.findings import Verdict
from tritonexp.redteam.fixtures import Fixture


@dataclass(frozen=True, kw_only=True)
class WrittenVerdict:
    """What is read of a verdict that document.as_json wrote."""

    fixture: str
    sha256: str
    date: str
    status: Status | None
    problem: str
    reason: str
    log: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class WrittenFindings:
    """What is read of findings that document.as_json wrote."""

    environment: Environment
    verdicts: tuple[WrittenVerdict, ...]


def take_over(
    path: Path, fixtures: Sequence[Fixture], mode: Mode, where: Environment
) -> tuple[Verdict, ...]:
    """The verdicts without a problem, of fixtures that have not changed since.

    Raises ConfigError for a file that --json did not write, or wrote in another environment.
    """
    earlier = _read(path)
    there, here = _conditions(earlier.environment), _conditions(where)
    differing = [
        f"its {name} was {there[name]}, and this run's is {here[name]}"
        for name in here
        if there[name] != here[name]
    ]
    if differing:
        raise ConfigError(
            f"{path} cannot be resumed here: {'; '.join(differing)}. Verdicts are taken over only"
            f" where {', '.join(here)} are the same; leave --resume out to judge all."
        )
    known = {(item.fixture, item.sha256): item for item in earlier.verdicts if not item.problem}
    found = [(fixture, known.get((fixture.name, fixture.sha256))) for fixture in fixtures]
    return tuple(
        Verdict(
            fixture=fixture,
            named=fixture.named(mode),
            status=item.status,
            reason=item.reason,
            log=item.log,
            seconds=item.seconds,
            # it would have been a problem
            aftermath="",
            taken_from=item.date,
        )
        for fixture, item in found
        if item is not None
    )


def _read(path: Path) -> WrittenFindings:
    try:
        return from_json(WrittenFindings, path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}; name a file that --json wrote, or leave"
            " --resume out."
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{path} holds no findings of the red team ({fault_of(error)}); name a file that --json"
            " wrote, or leave --resume out."
        ) from error


def _conditions(where: Environment) -> dict[str, str]:
    """What a verdict depends on; without a GPU it is the interpreter's."""
    return {
        "GPU": where.gpu.name if where.gpu else "none",
        "torch": where.torch,
        "triton": where.triton,
        "tritonexp": where.tritonexp,
        "sandbox": where.sandbox,
    }
