import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import builders as build
import pytest
from mlflow import MlflowClient

from tritonexp.records import Mode, from_json
from tritonexp.tracking import Store

# mlflow's own, of pandas and SQLAlchemy
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

# a process that opens a store and logs one job, once a file says go
OPEN_AND_LOG = """
import logging, sys, time
from pathlib import Path
logging.basicConfig(level=logging.INFO)  # as hydra does
from tritonexp.tracking import Store
store_folder, job, ready, go = map(Path, sys.argv[1:])
import mlflow
ready.touch()
while not go.exists():
    time.sleep(0.01)
Store.open(store_folder).log(job)
"""


def client_of(store):
    """Read the store as anybody else would."""
    return MlflowClient(tracking_uri=store.uri)


def files_of(store, run_id, folder=None):
    """List a run's artifacts, those in folders too."""
    found = set()
    for item in client_of(store).list_artifacts(run_id, folder):
        found |= files_of(store, run_id, item.path) if item.is_dir else {item.path}
    return found


def test_run_holds_params_tags_metrics_and_artifacts(store, make_job):
    """One job folder becomes one finished flat run that holds all of it."""
    folder = make_job(sweep="sweep-1")
    run_id = store.log(folder)
    run = client_of(store).get_run(run_id)
    assert (run.info.run_name, run.info.status) == ("softmax/recorded/baseline_only", "FINISHED")
    assert run.data.params["sizes"] == "study"
    assert {name: run.data.tags[name] for name in ("kind", "sweep", "status", "gpu", "mode")} == {
        "kind": "attempt",
        "sweep": "sweep-1",
        "status": "CORRECT",
        "gpu": "NVIDIA H200",
        "mode": "gpu",
    }
    assert run.data.tags["mlflow.note.content"].startswith("**CORRECT**")
    assert run.data.metrics["correct"] == 1.0
    assert run.data.metrics["score"] == run.data.metrics["speedup_vs_baseline"]
    history = client_of(store).get_metric_history(run_id, "size/candidate_us")
    assert [(point.step, point.value) for point in history] == [
        (0, 4.1),
        (1, 10.5),
        (2, 35.5),
        (3, 18.3),
    ]
    assert files_of(store, run_id) == {
        "record.json",
        "prompt.md",
        "response.md",
        "candidate.py",
        "environment.json",
        "config.yaml",
        "report.md",
        "plots/comparison.png",
        "plots/llm_vs_expert.png",
        "plots/ceiling.png",
        "timings.json",
    }
    assert Path(store.uri.removeprefix("sqlite:///")).with_name("artifacts") in [
        *Path(run.info.artifact_uri.removeprefix("file://").replace("%20", " ")).parents
    ]


def test_timings_are_a_table_of_implementation_and_size(store, make_job, tmp_path):
    """The table that the UI shows has a row for each implementation at each size."""
    run_id = store.log(make_job())
    path = client_of(store).download_artifacts(run_id, "timings.json", str(tmp_path))
    table = json.loads(Path(path).read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert len(rows) == 20
    assert {row["implementation"] for row in rows} == set(build.MEDIANS_US)
    (row,) = (r for r in rows if (r["implementation"], r["size"]) == ("liger", "4096x4096"))
    assert (row["median_us"], row["host_us"], row["role"]) == (39.1, 68.1, "expert")


def test_wrong_kernel_is_a_finished_run(store, make_job):
    """A failure of the model is a result; files that it left out are left out."""
    folder = make_job(evaluation=None, source=None)
    (folder / "candidate.py").unlink()
    run_id = store.log(folder)
    run = client_of(store).get_run(run_id)
    assert (run.info.status, run.data.tags["status"]) == ("FINISHED", "NO_CODE")
    assert run.data.metrics["score"] == 0.0
    assert not {"candidate.py", "timings.json"} & files_of(store, run_id)


def test_logging_a_study_twice_keeps_one_run(store, make_job):
    """A record that may have been logged before can be logged again without harm."""
    folder = make_job(sweep="sweep-1")
    assert store.log(folder) == store.log(folder)
    assert len(store.records("sweep-1")) == 1


def test_interrupted_log_is_replaced(store, make_job, monkeypatch):
    """A run that was never finished does not stand in the way of the whole one."""
    folder = make_job(sweep="sweep-1")
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "set_terminated", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.log(folder)
    assert store.records("sweep-1") == []
    run_id = store.log(folder)
    (run,) = client_of(store).search_runs([store.experiment_id])
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")


def interrupt(*args, **kwargs):
    """Press Ctrl-C."""
    raise KeyboardInterrupt


def test_records_come_back_as_they_were(store, make_job):
    """A sweep's records are equal to those logged, oldest first, without another sweep's."""
    times = {"b": "2026-11-22T10:00:02+00:00", "a": "2026-11-22T10:00:03+00:00"}
    for study_id, started in times.items():
        store.log(make_job(study_id, sweep="sweep's 1", started=started))
    store.log(make_job("c", sweep="sweep-2", started="2026-11-23T10:00:00+00:00"))
    store.log(make_job("d", started="2026-11-24T10:00:00+00:00"))
    found = store.records("sweep's 1")
    assert found == [
        build.record(build.gpu_evaluation(), study_id=study_id, sweep="sweep's 1", started=started)
        for study_id, started in times.items()
    ]
    assert store.sweeps() == ["sweep-2", "sweep's 1"]
    assert store.records("absent") == []


def test_report_made_again_replaces_the_earlier_one(store, make_job, tmp_path):
    """A sweep has one report run, the newest, and it is none of the sweep's records."""
    store.log(make_job(sweep="sweep-1"))
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "comparison.md").write_text("# first\n")
    (folder / "comparison.png").write_bytes(b"\x89PNG")
    store.log_report("sweep-1", folder, {"share_correct": 0.5})
    (folder / "comparison.md").write_text("# second\n" + "a line\n" * 2000)
    run_id = store.log_report("sweep-1", folder, {"share_correct": 1.0, "mean": float("nan")})
    (run,) = client_of(store).search_runs([store.experiment_id], "tags.kind = 'report'")
    assert (run.info.run_id, run.info.run_name) == (run_id, "report sweep-1")
    assert run.data.metrics == {"report/share_correct": 1.0}
    assert run.data.tags["mlflow.note.content"].startswith("# second")
    assert run.data.tags["mlflow.note.content"].endswith("in the artifact comparison.md.")
    assert files_of(store, run_id) == {"comparison.md", "comparison.png"}
    assert len(store.records("sweep-1")) == 1


def test_reopening_finds_the_same_experiment(shared_store, make_job):
    """A second opening adds no experiment; another name does."""
    first, second = Store.open(shared_store), Store.open(shared_store)
    assert first.experiment_id == second.experiment_id
    other = Store.open(shared_store, experiment="another")
    assert other.experiment_id != first.experiment_id
    other.log(make_job(sweep="sweep-1"))
    assert (other.sweeps(), first.sweeps()) == (["sweep-1"], [])


def test_experiment_explains_its_columns(shared_store):
    """Who opens the UI finds what the figures mean."""
    store = Store.open(shared_store)
    tags = client_of(store).get_experiment(store.experiment_id).tags
    assert "`score`" in tags["mlflow.note.content"]


def columns_of(store):
    """The columns of the saved view that the page names, each a group and a name."""
    tags = client_of(store).get_experiment(store.experiment_id).tags
    key = store.ui_page.rpartition("viewStateShareKey=")[2]
    columns = json.loads(tags[f"mlflow.sharedViewState.{key}"])["selectedColumns"]
    return [
        (group, name.strip("`")) for group, _, name in (item.partition(".") for item in columns)
    ]


def test_page_shows_columns_that_runs_have(store, make_job):
    """Each column is logged of a run on a GPU, or of one without that shows recorded figures."""
    recorded = {
        "evaluation": build.interpreter_evaluation(),
        "recorded_evaluation": build.gpu_evaluation(),
    }
    runs = [
        client_of(store).get_run(store.log(job))
        for job in (make_job(), make_job("study-2", **recorded))
    ]
    for group, name in columns_of(store):
        assert any(name in getattr(run.data, group) for run in runs)
    assert {("metrics", "score"), ("metrics", "recorded/score")} <= set(columns_of(store))
    for run, score in zip(runs, ("score", "recorded/score"), strict=True):
        assert [name for name in run.data.metrics if name.endswith("score")] == [score]


def test_view_of_an_earlier_version_is_renewed(shared_store, store):
    """A store that was made with fewer columns shows the new ones, and keeps its description."""
    client, name = client_of(store), client_of(store).get_experiment(store.experiment_id).name
    key = store.ui_page.rpartition("viewStateShareKey=")[2]
    old = json.dumps({"selectedColumns": ["metrics.`correct`"]})
    client.set_experiment_tag(store.experiment_id, f"mlflow.sharedViewState.{key}", old)
    client.set_experiment_tag(store.experiment_id, "mlflow.note.content", "mine")
    again = Store.open(shared_store, experiment=name)
    assert ("metrics", "recorded/score") in columns_of(again)
    tags = client.get_experiment(store.experiment_id).tags
    assert tags["mlflow.note.content"] == "mine"


def test_settings_of_a_run_can_be_filtered(store, make_job):
    """Effort and extents are parameters that MLflow takes and finds."""
    config = {"model": {"effort": "low"}, "sizes": {"custom": [[128, 128]]}}
    run_id = store.log(make_job(config=config))
    store.log(make_job("study-2", config={"model": {"effort": "high"}}))
    wanted = "params.`model.effort` = 'low' and params.`sizes.custom` = '[[128,128]]'"
    (found,) = client_of(store).search_runs([store.experiment_id], wanted)
    assert found.info.run_id == run_id


def test_mode_of_an_answer_without_code_is_the_machines(store, make_job):
    """Without a GPU its failure is not the only score that there is."""
    job = make_job(evaluation=None, source=None)
    run = client_of(store).get_run(store.log(job, Mode.INTERPRETER))
    assert run.data.metrics["recorded/score"] == 0.0
    assert "score" not in run.data.metrics
    assert run.data.tags["mode"] == "interpreter"


def test_ui_command_is_one_that_the_shell_takes_apart(shared_store):
    """A space in the folder survives the shell, and the command exists."""
    store = Store.open(shared_store)
    command, *arguments = shlex.split(store.ui_command)
    assert arguments == ["ui", "--backend-store-uri", f"sqlite:///{shared_store}/mlflow.db"]
    assert shutil.which(command) is not None


def test_processes_that_open_an_absent_store_lose_nothing(make_job, tmp_path):
    """Four processes at once make one store with four runs, and print nothing."""
    folder, go = tmp_path / "mlruns", tmp_path / "go"
    jobs = [make_job(f"study-{number}", sweep="sweep-1") for number in range(4)]
    ready = [tmp_path / f"ready-{number}" for number in range(4)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_LOG, folder, job, flag, go],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for job, flag in zip(jobs, ready, strict=True)
    ]
    wait_until(lambda: all(flag.exists() for flag in ready))
    go.touch()
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert outputs == [""] * 4
    found = Store.open(folder).records("sweep-1")
    assert sorted(record.study_id for record in found) == [f"study-{n}" for n in range(4)]
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".new-")]


def test_server_is_logged_to_and_read_back(shared_store, make_job, tmp_path):
    """Over http everything travels, artifacts too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    shutil.copytree(shared_store, tmp_path / "server")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{tmp_path}/server/mlflow.db"),
            *("--artifacts-destination", str(tmp_path / "server" / "artifacts")),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        start_new_session=True,
    )
    try:
        wait_until(lambda: answers(f"{address}/health"))
        store = Store.open(tmp_path / "unused", experiment="remote", uri=address)
        folder = make_job(sweep="sweep-1")
        run_id = store.log(folder)
        (record,) = store.records("sweep-1")
        assert record == from_json(type(record), (folder / "record.json").read_bytes())
        assert {"timings.json", "plots/comparison.png"} <= files_of(store, run_id)
        assert store.ui_command.startswith(f"{address}/#/experiments/{store.experiment_id}/")
        assert not (tmp_path / "unused").exists()
    finally:
        # the server's own workers are in its session
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


def answers(address):
    """Tell whether a server answers at an address."""
    try:
        with urllib.request.urlopen(address, timeout=1) as answer:  # noqa: S310 - loopback
            return answer.status == 200
    except OSError:
        return False


def wait_until(condition, timeout_s=90):
    """Wait for what other processes do."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "the other process was not ready in time"
        time.sleep(0.02)
