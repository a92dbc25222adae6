"""A job's folder: its record, written first, and all that can be made again from the record.

The folder waits under `<tracking.folder>/pending/` until MLflow has taken it, so a crash or an
unreachable store after the measurement loses nothing: `python -m tritonexp log` goes on from here.
Does not cover answers that were paid for but never evaluated because the harness failed between.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tritonexp.errors import ConfigError
from tritonexp.records import Evaluation, Mode, StudyRecord, from_json, sha256_of, to_json

RECORD_FILE = "record.json"


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
        first = str(error).splitlines()[:2]
        raise ConfigError(
            f"{file} is no record that this version can read ({': '.join(first)})."
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


def dismiss(folder: Path) -> None:
    """Remove a job folder that MLflow has taken."""
    shutil.rmtree(folder)


def recorded_evaluations(folder: Path) -> dict[str, Evaluation]:
    """Collect the GPU evaluations below a folder by the sha256 of their candidate's source.

    Every JSON file there is a StudyRecord; the latest evaluation of a source counts.
    """
    found: dict[str, Evaluation] = {}
    for path in sorted(folder.rglob("*.json")):
        for attempt in read(path).attempts:
            evaluation = attempt.evaluation
            if attempt.source is None or evaluation is None or evaluation.mode is not Mode.GPU:
                continue
            key = sha256_of(attempt.source)
            if key not in found or found[key].environment.date < evaluation.environment.date:
                found[key] = evaluation
    return found


def _write(path: Path, text: str) -> None:
    # a reader never sees half a file; newline="" keeps a response's own line ends
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
    beside.replace(path)
