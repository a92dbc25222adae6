"""What a sweep does once, before its first job and after its last.

Hydra calls the end only when no job raised, so run.py notes a failed job and raises nothing; and it
swallows what a callback raises except SystemExit, so that is how errors leave here, those that
nobody thought of too.
Does not run after Ctrl-C: `python -m tritonexp report --sweep ID` compares what was logged.
Looks ahead only where Hydra's own launcher runs the jobs, one after another in this process, and
its own sweeper chooses them: where it is another's, each job finds itself alone.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback

from tritonexp.errors import ConfigError, TritonExpError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from tritonexp.config import StudyConfig
    from tritonexp.sweep import Sweep

SWEEP_VARIABLE = "TRITONEXP_SWEEP"
LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"

# by the sweep's id; there is none in a process that a launcher started
_sweeps: dict[str, Sweep] = {}


class SweepCallback(Callback):
    """Checks the store and names the sweep, then compares its runs."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Create the store and the sweep's id before anything is measured."""
        from tritonexp import study
        from tritonexp.sweep import Sweep

        try:
            study.open_store(config.tracking)
        except TritonExpError as error:
            raise SystemExit(f"error: {error}") from error
        except Exception as error:
            traceback.print_exc()
            raise SystemExit(f"error: the sweep cannot begin: {_told(error)}") from error
        # an environment variable is what reaches the jobs of every launcher
        os.environ[SWEEP_VARIABLE] = study.new_id()
        if config.hydra.launcher._target_ == LAUNCHER:
            _sweeps[current_sweep()] = Sweep(coming(config))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Log the comparison; exit with 1 where a job failed."""
        from tritonexp import commands, jobs, study

        sweep = current_sweep()
        folder = Path(config.hydra.sweep.dir)
        is_compared = False
        print(f"\nsweep {sweep}")  # noqa: T201
        failures = jobs.failures_in(folder)
        try:
            if (ahead := _sweeps.pop(sweep, None)) is not None:
                ahead.close()
            store = study.open_store(config.tracking)
            print(study.compare_sweep(store, sweep, folder, failures))  # noqa: T201
            is_compared = True
        except TritonExpError as error:
            print(f"error: no comparison: {error}", file=sys.stderr)  # noqa: T201
        except Exception as error:  # noqa: BLE001  # hydra would swallow it, and exit with 0
            traceback.print_exc()
            again = commands.report(sweep, config.tracking)
            print(  # noqa: T201
                f"error: no comparison: {_told(error)}. The jobs that are done are logged; to"
                f" compare them again: {again}",
                file=sys.stderr,
            )
        if failures:
            print(f"{len(failures)} failed:", *failures, sep="\n  ", file=sys.stderr)  # noqa: T201
        if failures or not is_compared:
            raise SystemExit(1)


def current_sweep() -> str:
    """Name the sweep that this process is a job of."""
    return os.environ[SWEEP_VARIABLE]


def ahead() -> Sweep | None:
    """What the jobs of the sweep share; None where each is alone."""
    return _sweeps.get(current_sweep())


def coming(config: DictConfig) -> Iterator[StudyConfig]:
    """List a sweep's jobs in their order, each composed when it is reached; ends where it cannot.

    Does what the sweeper and the launcher are going to do with the same overrides.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import open_dict

    from tritonexp.config import typed

    if config.hydra.sweeper._target_ != SWEEPER:
        return
    try:
        loader = GlobalHydra.instance().config_loader()
        fixed = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
        parser = OverridesParser.create(config_loader=loader)
        overrides = parser.parse_overrides([*fixed, *config.hydra.overrides.task])
        (jobs,) = BasicSweeper.split_arguments(overrides, None)
        for job in jobs:
            composed = loader.load_sweep_config(config, job)
            with open_dict(composed):
                del composed["hydra"]
            try:
                yield typed(composed)
            except ConfigError:
                continue  # that job tells of it
    except Exception:  # noqa: BLE001  # hydra tells of it; to look ahead is only quicker
        return


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
