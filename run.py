"""Have a model write a Triton kernel, judge it, and log it to MLflow.

python run.py --help lists the choices; without any, a recorded answer for softmax is judged.
"""

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from tritonexp import config as types
from tritonexp.errors import TritonExpError

if TYPE_CHECKING:
    from tritonexp.sweep import Sweep

types.register()

# the job that began last, and the id of its sweep: what an interrupt is told about
_begun: list[tuple[DictConfig, str | None]] = []


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(composed: DictConfig) -> None:
    """Run one job; in a sweep a job that fails is noted and the others go on."""
    if HydraConfig.get().mode is not RunMode.MULTIRUN:
        _begun[:] = [(composed, None)]
        try:
            run_job(composed)
        except TritonExpError as error:
            raise SystemExit(f"error: {error}") from error
        return
    from tritonexp import callbacks, jobs

    _begun[:] = [(composed, callbacks.current_sweep())]
    job = " ".join(HydraConfig.get().overrides.task)
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        run_job(composed, callbacks.current_sweep(), callbacks.ahead())
    except TritonExpError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        jobs.note_failure(folder, job, str(error))
    except Exception as error:  # noqa: BLE001  # the other jobs go on, and the sweep exits with 1
        traceback.print_exc()
        jobs.note_failure(folder, job, f"{type(error).__name__}: {error}")


def run_job(composed: DictConfig, sweep: str | None = None, ahead: "Sweep | None" = None) -> None:
    """Run one job and show it; raises TritonExpError."""
    from tritonexp import study
    from tritonexp.terminal import Terminal, show_finished

    with Terminal() as terminal:
        finished = study.run_study(
            types.typed(composed), terminal.progress, note=terminal.note, sweep=sweep, ahead=ahead
        )
    show_finished(finished)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        from tritonexp.terminal import tell_interrupted

        job, sweep = _begun[0] if _begun else (None, None)
        tell_interrupted(None if job is None else job.tracking, sweep)
        sys.exit(130)
