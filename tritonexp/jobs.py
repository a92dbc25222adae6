"""A job's folder: its record, written first, and all that can be made again from the record.

The folder waits under `<tracking.folder>/pending/` until MLflow has taken it, so a crash or an
unreachable store after the measurement loses nothing: `python -m tritonexp log` goes on from here.
A sweep's folder, beside it, lists the jobs that could not be done.
Does not cover answers that were paid for and have no record yet: see answers.py.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tritonexp.errors import ConfigError
from tritonexp.records import StudyRecord, fault_of, from_json, to_json

RECORD_FILE = "record.json"
FAILURES_FILE = "failures.txt"


def pending_in(tracking_folder: Path) -> Path:
    """Where job folders wait."""
    return tracking_folder / "pending"


def waiting(tracking_folder: Path) -> tuple[Path, ...]:
    """List the job folders that MLflow has not taken yet, oldest first."""
    found = pending_in(tracking_folder).glob(f"*/{RECORD_FILE}")
    return tuple(sorted(path.parent for path in found))


def read(path: Path) -> StudyRecord:
    """Read a record, or the record of a job folder; raises ConfigError where there is none."""
    file = path / RECORD_FILE if path.is_dir() else path
    try:
        return from_json(StudyRecord, file.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be read ({error.strerror}); give a record.json or its folder."
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{file} is no record that this version can read ({fault_of(error)}); name another, or"
            " read it with the version that wrote it."
        ) from error


def keep(record: StudyRecord, tracking_folder: Path) -> Path:
    """Write the record into a new job folder, whole or not at all."""
    folder = pending_in(tracking_folder) / record.study_id
    folder.mkdir(parents=True)
    _write(folder / RECORD_FILE, to_json(record))
    return folder


def fill(folder: Path) -> StudyRecord:
    """Write everything else that the record gives: texts, configuration, report and plots."""
    import yaml

    from tritonexp import report

    record = read(folder)
    attempt = record.attempt
    if attempt.prompt.text:
        _write(folder / "prompt.md", attempt.prompt.text)
    _write(folder / "response.md", attempt.completion.text)
    _write(folder / "config.yaml", yaml.safe_dump(record.config, sort_keys=False))
    if attempt.source is not None:
        _write(folder / "candidate.py", attempt.source)
    if attempt.evaluation is not None:
        _write(folder / "environment.json", to_json(attempt.evaluation.environment))
    report.write(record, folder)
    return record


def home_of(folder: Path) -> Path | None:
    """Find the tracking folder that a job folder waits in; None where it lies elsewhere."""
    # as it was given, where that tells
    for place in (folder, folder.resolve()):
        home = place.parent.parent
        if place.parent == pending_in(home):
            return home
    return None


def dismiss(folder: Path) -> None:
    """Remove a job folder that MLflow has taken."""
    shutil.rmtree(folder)


def sweep_in(tracking_folder: Path, sweep: str) -> Path:
    """Where a sweep leaves what it is; conf/config.yaml tells Hydra the same."""
    return tracking_folder / "sweeps" / sweep


def note_failure(folder: Path, job: str, message: str) -> None:
    """Remember a job that failed; a file, because a launcher may run jobs in other processes."""
    with (folder / FAILURES_FILE).open("a", encoding="utf-8") as file:
        file.write(f"{job}: {' '.join(message.split())}\n")


def failures_in(folder: Path) -> list[str]:
    """List the jobs of a sweep that failed so far, each as "job: why"."""
    path = folder / FAILURES_FILE
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _write(path: Path, text: str) -> None:
    # a reader never sees half a file; newline="" keeps a response's own line ends
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
    beside.replace(path)
