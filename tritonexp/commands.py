"""The commands that messages name, with the options that a store needs which is not the default.

Does not cover what the commands do: see cli.py.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tritonexp.config import TrackingConfig

PROGRAM = "python -m tritonexp"
# as in conf/tracking/local.yaml
FOLDER = "mlruns"
EXPERIMENT = "tritonexp"


def log(folder: Path) -> str:
    """Log what waits in a tracking folder; each record knows its own server and experiment."""
    return _line("log", folder=_named(folder))


def report(sweep: str, tracking: TrackingConfig) -> str:
    """Compare a sweep again."""
    return _line(
        "report",
        sweep=sweep,
        folder=_named(Path(tracking.folder)),
        experiment=None if tracking.experiment == EXPERIMENT else tracking.experiment,
        uri=tracking.uri or None,
    )


def _line(command: str, **options: str | None) -> str:
    given = (f"--{name} {shlex.quote(text)}" for name, text in options.items() if text is not None)
    return " ".join([PROGRAM, command, *given])


def _named(folder: Path) -> str | None:
    return None if folder.resolve() == Path(FOLDER).resolve() else str(folder)
