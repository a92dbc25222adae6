"""What a sweep does once, before its first job and after its last.

Hydra calls the end only when no job raised, so run.py notes a failed job and raises nothing; and it
swallows what a callback raises except SystemExit, so that is how errors leave here.
Does not run after Ctrl-C: `python -m tritonexp report --sweep ID` compares what was logged.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback

from tritonexp.errors import TritonExpError

if TYPE_CHECKING:
    from omegaconf import DictConfig

SWEEP_VARIABLE = "TRITONEXP_SWEEP"


class SweepCallback(Callback):
    """Checks the store and names the sweep, then compares its runs."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Create the store and the sweep's id before anything is measured."""
        from tritonexp import study

        try:
            study.open_store(config.tracking)
        except TritonExpError as error:
            raise SystemExit(f"error: {error}") from error
        # an environment variable is what reaches the jobs of every launcher
        os.environ[SWEEP_VARIABLE] = study.new_id()

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Log the comparison; exit with 1 where a job failed."""
        from tritonexp import study

        sweep = current_sweep()
        folder = Path(config.hydra.sweep.dir)
        failures = failures_in(folder)
        is_compared = True
        print(f"\nsweep {sweep}")  # noqa: T201
        try:
            store = study.open_store(config.tracking)
            print(study.compare_sweep(store, sweep, folder))  # noqa: T201
        except TritonExpError as error:
            print(f"error: no comparison: {error}", file=sys.stderr)  # noqa: T201
            is_compared = False
        if failures:
            print(f"{len(failures)} failed:", *failures, sep="\n  ", file=sys.stderr)  # noqa: T201
        if failures or not is_compared:
            raise SystemExit(1)


def current_sweep() -> str:
    """Name the sweep that this process is a job of."""
    return os.environ[SWEEP_VARIABLE]


def note_failure(folder: Path, job: str, message: str) -> None:
    """Remember a job that failed; a file, because a launcher may run jobs in other processes."""
    with (folder / "failures.txt").open("a", encoding="utf-8") as file:
        file.write(f"{job}: {' '.join(message.split())}\n")


def failures_in(folder: Path) -> list[str]:
    """List the jobs that failed so far."""
    path = folder / "failures.txt"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
