"""The MLflow store: job folders go in as flat runs, records come back out.

A run's measured figures come from record.json alone, so a record that was kept when the store
could not be reached is logged later by the same call. Does not cover access to a server that asks
for a login beyond what MLflow's own environment variables give it.
"""

from __future__ import annotations

import json
import math
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tritonexp.errors import TrackingError
from tritonexp.records import Mode, StudyRecord, fault_of, from_json
from tritonexp.tracking import local
from tritonexp.tracking.flatten import Figure, figures_of, metric_name, params_of, table_of, tags_of
from tritonexp.tracking.library import connect, explained
from tritonexp.tracking.notes import EXPERIMENT_NOTE, note_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RECORD = "record.json"
ARTIFACTS = (
    RECORD,
    "prompt.md",
    "response.md",
    "candidate.py",
    "environment.json",
    "config.yaml",
    "report.md",
    "plots/comparison.png",
    "plots/llm_vs_expert.png",
    "plots/ceiling.png",
    "plots/rounds.png",
)
TIMINGS = "timings.json"
REPORT = "comparison.md"
NOTE_TAG = "mlflow.note.content"
# the longest tag value that MLflow takes
NOTE_LENGTH = 8000
# without a view, MLflow's table of runs shows neither metrics nor tags
VIEW = "tritonexp"
VIEW_COLUMNS = (
    "metrics.`correct`",
    "metrics.`score`",
    "metrics.`speedup_vs_baseline`",
    "metrics.`speedup_vs_expert`",
    "metrics.`fraction_of_ceiling`",
    # what a run without a GPU has in their place
    "metrics.`recorded/score`",
    "metrics.`recorded/speedup_vs_expert`",
    "metrics.`recorded/fraction_of_ceiling`",
    "metrics.`cost_usd`",
    "tags.`status`",
    "tags.`verdict_vs_expert`",
    "tags.`gpu`",
    "tags.`recorded_gpu`",
)
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
EXPERIMENT_TAGS = {
    NOTE_TAG: EXPERIMENT_NOTE,
    VIEW_TAG: json.dumps({"selectedColumns": VIEW_COLUMNS}),
}
# where `mlflow ui` listens unless told otherwise
UI_ADDRESS = "http://127.0.0.1:5000"
PAGE = 1000


class Store:
    """An MLflow experiment, in a local folder or on a server."""

    def __init__(self, client: MlflowClient, uri: str, experiment_id: str) -> None:
        self._client = client
        self.uri = uri
        self.experiment_id = experiment_id

    @classmethod
    def open(cls, folder: Path, experiment: str = "tritonexp", uri: str | None = None) -> Store:
        """Open the store in a folder, or the server at a URI, and create what is absent.

        Raises TrackingError, within seconds, when it cannot be used.
        """
        if uri:
            return cls._open_server(uri, experiment)
        folder = folder.resolve()
        with local.exclusive(folder):
            if local.is_absent(folder):
                _create(folder, experiment)
            address = local.uri_of(folder)
            with _explained_store(local.DATABASE, address):
                client = connect(address)
                artifacts = (folder / local.ARTIFACTS).as_uri()
                return cls(client, address, _experiment_id(client, experiment, artifacts))

    @classmethod
    def _open_server(cls, uri: str, experiment: str) -> Store:
        if not uri.startswith(("http://", "https://")):
            raise TrackingError(
                f"the tracking URI {uri!r} is no server's address: it must begin with http:// or"
                " https://. Leave it empty to use the local store."
            )
        with _explained_store("the MLflow server", uri):
            client = connect(uri)
            return cls(client, uri, _experiment_id(client, experiment, None))

    @property
    def ui_command(self) -> str:
        """The shell command that opens the UI on a local store; of a server the page's address."""
        if self._is_local:
            return f"{_mlflow_command()} ui --backend-store-uri {shlex.quote(self.uri)}"
        return self.ui_page

    @property
    def ui_page(self) -> str:
        """The page with the table of runs, its columns chosen, once the UI runs."""
        address = UI_ADDRESS if self._is_local else self.uri.rstrip("/")
        view = f"workflowType=machine_learning&viewStateShareKey={VIEW}"
        return f"{address}/#/experiments/{self.experiment_id}/runs?{view}"

    @property
    def _is_local(self) -> bool:
        return self.uri.startswith("sqlite:")

    def log(self, folder: Path, mode: Mode | None = None) -> str:
        """Log a job folder as one run and return the run's id.

        A study that is in the store already is not logged again: its run's id is returned. `mode`
        is that of the machine it ran on, where that is known: a record of which nothing was
        evaluated does not tell, and its failure counts in the score of one or of the other.
        """
        record = _read_record(folder / RECORD)
        advice = f"The record is kept in {folder} and can be logged again."
        with explained(f"study {record.study_id} could not be logged to {self.uri}", advice):
            for run in self._runs(f"tags.study_id = {_quoted(record.study_id)}"):
                if run.info.status == "FINISHED":
                    return str(run.info.run_id)
                # what an interrupted attempt at logging left
                self._client.delete_run(run.info.run_id)
            tags = tags_of(record, mode) | {NOTE_TAG: _shortened(note_of(record), "report.md")}
            started_ms = int(datetime.fromisoformat(record.started).timestamp() * 1000)
            run_id = self._create_run(record.name, tags, started_ms)
            self._log_figures(run_id, figures_of(record, mode), started_ms, params_of(record))
            for name in ARTIFACTS:
                if (folder / name).is_file():
                    inside = Path(name).parent.as_posix()
                    self._client.log_artifact(
                        run_id, str(folder / name), None if inside == "." else inside
                    )
            if table := table_of(record.evaluation):
                self._client.log_table(run_id, table, TIMINGS)
            # the record is written when the job ends, which may be long before it is logged
            ended_ms = int((folder / RECORD).stat().st_mtime * 1000)
            self._client.set_terminated(run_id, "FINISHED", max(ended_ms, started_ms))
            return run_id

    def log_report(self, sweep: str, folder: Path, metrics: Mapping[str, float]) -> str:
        """Log a sweep's report with all files of a folder, in place of an earlier report of it."""
        # of a section of their own, or the UI would chart them among those of the runs
        figures = [Figure(metric_name(f"report/{name}"), value) for name, value in metrics.items()]
        tags = {"kind": "report", "sweep": sweep}
        if (folder / REPORT).is_file():
            tags[NOTE_TAG] = _shortened((folder / REPORT).read_text(), REPORT)
        advice = f"The report is kept in {folder} and can be logged again."
        with explained(f"the report of {sweep} could not be logged to {self.uri}", advice):
            earlier = self._runs(f"tags.kind = 'report' and tags.sweep = {_quoted(sweep)}")
            now_ms = int(time.time() * 1000)
            run_id = self._create_run(f"report {sweep}", tags, now_ms)
            finite = [figure for figure in figures if math.isfinite(figure.value)]
            self._log_figures(run_id, finite, now_ms, {})
            self._client.log_artifacts(run_id, str(folder))
            self._client.set_terminated(run_id, "FINISHED")
            # only now, so that a failure above leaves the earlier report in place
            for run in earlier:
                self._client.delete_run(run.info.run_id)
            return run_id

    def records(self, sweep: str) -> list[StudyRecord]:
        """The records of a sweep, in the order in which they started."""
        wanted = f"tags.kind = 'attempt' and tags.sweep = {_quoted(sweep)}"
        advice = f"A store that was moved loses its files; look at the run in: {self.ui_command}."
        records = []
        with tempfile.TemporaryDirectory() as temporary:
            for run in self._finished(wanted):
                run_id = run.info.run_id
                destination = Path(temporary, run_id)
                destination.mkdir()
                with explained(f"run {run_id} has no readable {RECORD}", advice):
                    path = self._client.download_artifacts(run_id, RECORD, str(destination))
                records.append(_read_record(Path(path), f"{RECORD} of run {run_id}"))
        return sorted(records, key=lambda record: record.started)

    def sweeps(self) -> list[str]:
        """The sweeps that have runs, newest first."""
        runs = self._finished("tags.kind = 'attempt'")
        found = (run.data.tags.get("sweep") for run in runs)
        return list(dict.fromkeys(sweep for sweep in found if sweep is not None))

    def _finished(self, wanted: str) -> list[Run]:
        with _explained_store("the store", self.uri):
            return self._runs(f"{wanted} and attributes.status = 'FINISHED'")

    def _runs(self, wanted: str) -> list[Run]:
        """All runs that a filter finds, newest first."""
        runs: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id],
                wanted,
                max_results=PAGE,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def _create_run(self, name: str, tags: Mapping[str, str], started_ms: int) -> str:
        run = self._client.create_run(
            self.experiment_id, start_time=started_ms, tags=dict(tags), run_name=name
        )
        return str(run.info.run_id)

    def _log_figures(
        self, run_id: str, figures: Iterable[Figure], at_ms: int, params: Mapping[str, str]
    ) -> None:
        from mlflow.entities import Metric, Param

        self._client.log_batch(
            run_id,
            metrics=[Metric(item.name, item.value, at_ms, item.step) for item in figures],
            params=[Param(name, value) for name, value in params.items()],
        )


def _create(folder: Path, experiment: str) -> None:
    """Create the database under another name first, so that no interruption leaves half of one."""
    with (
        _explained_store("a new store", str(folder)),
        tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as temporary,
    ):
        client = connect(local.uri_of(Path(temporary)))
        _experiment_id(client, experiment, (folder / local.ARTIFACTS).as_uri())
        Path(temporary, local.DATABASE).replace(folder / local.DATABASE)


def _experiment_id(client: MlflowClient, name: str, artifacts: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifacts, EXPERIMENT_TAGS))
        except MlflowException:
            # another process may have created it on the same server at this moment
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"the experiment {name!r} was deleted from the store. Name another experiment, or"
            f" restore it: MLFLOW_TRACKING_URI={shlex.quote(client.tracking_uri)} mlflow"
            f" experiments restore --experiment-id {found.experiment_id}"
        )
    # of an earlier version, which shows fewer columns; the description may be the user's by now
    if found.tags.get(VIEW_TAG) != EXPERIMENT_TAGS[VIEW_TAG]:
        client.set_experiment_tag(found.experiment_id, VIEW_TAG, EXPERIMENT_TAGS[VIEW_TAG])
    return str(found.experiment_id)


def _explained_store(what: str, where: str) -> AbstractContextManager[None]:
    return explained(
        f"{what} at {where} cannot be used",
        "Check the address and that it can be reached, or choose another store.",
    )


def _read_record(path: Path, shown: str | None = None) -> StudyRecord:
    shown = shown or str(path)
    try:
        return from_json(StudyRecord, path.read_bytes())
    except OSError as error:
        raise TrackingError(
            f"{shown} cannot be read: {error.strerror}. Name a job folder; each holds one."
        ) from error
    except ValueError as error:
        raise TrackingError(
            f"{shown} is no record that this version reads: {fault_of(error)}."
            " Run the job again, or read it with the version that wrote it."
        ) from error


def _quoted(value: str) -> str:
    """A string of MLflow's filter language."""
    for quote in ("'", '"'):
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise TrackingError(f"{value!r} holds both kinds of quotes and cannot be searched for.")


def _shortened(note: str, whole: str) -> str:
    if len(note) <= NOTE_LENGTH:
        return note
    pointer = f"\n\n... the rest is in the artifact {whole}."
    return note[: NOTE_LENGTH - len(pointer)].rpartition("\n")[0] + pointer


def _mlflow_command() -> str:
    """MLflow's command of this installation: its name where the shell finds it, else its path."""
    beside = Path(sys.executable).with_name("mlflow")
    found = shutil.which("mlflow")
    if not beside.is_file() or (found is not None and beside.samefile(found)):
        return "mlflow"
    return shlex.quote(str(beside))
