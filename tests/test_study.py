"""The study joins the rooms in order and loses nothing; the referee is a stand-in here."""

import dataclasses
import json
import os
from pathlib import Path

import builders as build
import pytest
from mlflow import MlflowClient
from stand_ins import StandInReferee

from tests.strategies.scripted import ScriptedProvider, answer
from tritonexp import answers, jobs, operations, report, study
from tritonexp.config import compose
from tritonexp.errors import (
    ConfigError,
    DoesNotFitError,
    LeaseError,
    MissingKeyError,
    PromptError,
    RecordingError,
    TrackingError,
)
from tritonexp.records import (
    Mode,
    Profile,
    Role,
    Status,
    StudyRecord,
    from_json,
    to_json,
)
from tritonexp.terminal import show_finished
from tritonexp.tracking import Store

KERNEL = "def softmax(x):\n    return x\n"
# as the builders' evaluations were made
AS_RECORDED = ("sizes=study", f"timing.cold_factor={build.PROTOCOL.cold_factor}")


class Approving(StandInReferee):
    """Finds every candidate right, as an interpreter would."""

    def evaluate(self, candidate, upcoming=None):
        """Let the candidate pass the cases that the baseline passes."""
        found = super().evaluate(candidate, upcoming)
        right = build.trial(candidate, timed=False, cases=build.case_results(1))
        return dataclasses.replace(found, candidate=right)


@pytest.fixture(autouse=True)
def _fresh():
    StandInReferee.forget()


@pytest.fixture
def configured(tmp_path):
    """Compose a configuration that judges a kernel file and logs below tmp_path."""

    def make(*overrides):
        kernel = tmp_path / "kernel.py"
        kernel.write_text(KERNEL)
        return compose(
            [
                "model=file",
                f"model.path={kernel}",
                "sizes=smoke",
                f"tracking.folder={tmp_path / 'mlruns'}",
                *overrides,
            ]
        )

    return make


def run(config, **more):
    """Run a study with the stand-in, in silence."""
    more = {"note": lambda _: None, "open_referee": StandInReferee, **more}
    return study.run_study(config, lambda _: None, **more)


def break_store(monkeypatch):
    """Have MLflow fail when a run is logged, as a server does that goes away meanwhile."""

    def fail(self, folder, mode=None):
        raise TrackingError(f"the server went away. The record is kept in {folder}.")

    monkeypatch.setattr(Store, "log", fail)


def test_a_wrong_kernel_is_a_logged_result(configured, tmp_path):
    """A wrong kernel ends as a run with its record, and no job folder is left waiting."""
    notes = []
    finished = run(configured(), sweep="a-sweep", note=notes.append)
    assert finished.tracking_error is None
    assert finished.record.status is Status.INCORRECT
    assert finished.record.attempt.source == KERNEL
    assert jobs.waiting(tmp_path / "mlruns") == ()
    assert Path(finished.report).read_text().startswith("#")
    assert study.open_store(configured().tracking).records("a-sweep") == [finished.record]
    (note,) = notes
    assert note.startswith("No GPU here")
    assert "whatever sizes= and timing= say" in note
    assert "\n" not in note


def test_the_referee_is_told_what_was_configured(configured):
    """Sizes, clock, expert, contenders and seed reach the referee as records."""
    config = configured("seed=7", "sizes.custom=[[33,5]]", "expert=none", "contenders=[torch]")
    with pytest.raises(ZeroDivisionError):
        run(config, open_referee=lambda **given: StandInReferee(**given) and 1 / 0)
    (given,) = StandInReferee.opened
    assert [size.label for size in given["sizes"]] == ["33x5"]
    assert (given["seed"], given["expert"], given["contenders"]) == (7, "none", ("torch",))
    assert given["protocol"].rounds >= 20
    assert given["operation"].name == "softmax"
    assert given["profile"] is None


def test_a_profiler_that_measures_nothing_is_told_of_and_kept(configured):
    """The run goes on; one sentence says why, and the record holds the reason."""

    class Unprofiled(StandInReferee):
        def evaluate(self, candidate, upcoming=None):
            profile = Profile(tool=self.arguments["profile"], reason="ncu is not on the PATH")
            return dataclasses.replace(super().evaluate(candidate), profile=profile)

    notes = []
    finished = run(configured("profile=ncu"), open_referee=Unprofiled, note=notes.append)
    assert "profile=ncu was asked for and measured nothing: ncu is not on the PATH." in notes
    assert finished.record.evaluation.profile.reason == "ncu is not on the PATH"
    assert finished.record.config["profile"] == {"name": "ncu"}


def test_a_kernel_file_is_logged_and_reported_under_no_prompt(configured, tmp_path):
    """Whichever prompt is configured, none is rendered, and run, report and comparison say so."""
    # this machine could not render it: it tells of a GPU
    config = configured("prompt=hardware_aware")
    finished = run(config, sweep="a-sweep")
    assert finished.record.name == "softmax/file/none"
    assert finished.record.attempt.prompt.text == ""
    store = study.open_store(config.tracking)
    assert store.records("a-sweep") == [finished.record]
    client = MlflowClient(tracking_uri=store.uri)
    (logged,) = client.search_runs([store.experiment_id])
    assert logged.info.run_name == "softmax/file/none"
    assert (logged.data.params["prompt"], logged.data.tags["prompt"]) == ("none", "none")
    files = {item.path for item in client.list_artifacts(logged.info.run_id)}
    assert "response.md" in files
    assert "prompt.md" not in files
    text = Path(finished.report).read_text()
    assert "file with prompt none" in text
    assert "No prompt was sent; strategy `single_shot`." in text
    # neither a name that was not used nor one that no command line takes
    assert not {"hardware_aware", "prompt=none"} & set(text.replace("`", " ").split())
    study.compare_sweep(store, "a-sweep", tmp_path / "out")
    comparison = (tmp_path / "out" / "report" / "comparison.md").read_text()
    assert "| softmax | file | none |" in comparison
    assert "hardware_aware" not in comparison


def test_a_recorded_answer_is_kept_beside_its_prompt(configured, tmp_path, monkeypatch):
    """What answers a prompt is named after it, and prompt.md holds what was sent."""
    break_store(monkeypatch)
    finished = run(configured("model=recorded", "model.path=null", "prompt=with_hints"))
    assert finished.record.name == "softmax/recorded/with_hints"
    (folder,) = jobs.waiting(tmp_path / "mlruns")
    assert "softmax" in finished.record.attempt.prompt.text
    assert (folder / "prompt.md").read_text() == finished.record.attempt.prompt.text


def test_a_missing_key_ends_before_anything_else(configured, tmp_path, monkeypatch):
    """Without a key no store is made and no referee opened; the message says what needs none."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(MissingKeyError, match=r"ANTHROPIC_API_KEY.*recorded"):
        run(configured("model=sonnet", "model.path=null"))
    assert StandInReferee.opened == []
    assert not (tmp_path / "mlruns").exists()


def test_an_unusable_store_ends_before_anything_is_measured(configured, tmp_path):
    """A store whose folder is a file is refused before the referee is opened."""
    (tmp_path / "mlruns").write_text("a file")
    with pytest.raises(TrackingError):
        run(configured())
    assert StandInReferee.opened == []


def test_an_absent_recording_ends_before_anything_is_measured(configured):
    """A sample that was never recorded is refused before the referee is opened."""
    with pytest.raises(RecordingError):
        run(configured("model=recorded", "model.path=null", "model.sample=999"))
    assert StandInReferee.opened == []


def test_a_size_that_does_not_fit_ends_before_the_model_is_asked(configured, tmp_path):
    """The model costs nothing when the GPU cannot hold the tensors."""

    class Small(StandInReferee):
        def check_fits(self):
            raise DoesNotFitError("it needs 9 bytes and 1 is free")

        def evaluate(self, candidate, upcoming=None):
            raise AssertionError("asked")

    with pytest.raises(DoesNotFitError):
        run(configured(), open_referee=Small)
    assert jobs.waiting(tmp_path / "mlruns") == ()


def test_a_record_that_mlflow_does_not_take_is_kept_and_logged_later(
    configured, tmp_path, monkeypatch
):
    """The job folder waits with record and report, the message says so, and log takes it."""
    config = configured()
    with monkeypatch.context() as patched:
        break_store(patched)
        finished = run(config, sweep="a-sweep")
    (folder,) = jobs.waiting(tmp_path / "mlruns")
    assert "python -m tritonexp log" in str(finished.tracking_error)
    assert str(folder) in str(finished.tracking_error)
    assert finished.report == folder / "report.md"
    for name in ("response.md", "candidate.py", "environment.json", "config.yaml"):
        assert (folder / name).is_file(), name
    assert (folder / "candidate.py").read_text() == KERNEL
    (logged,) = study.log_pending([folder])
    assert logged.tracking_error is None
    assert jobs.waiting(tmp_path / "mlruns") == ()
    assert study.open_store(config.tracking).records("a-sweep") == [finished.record]


def test_a_crash_after_the_measurement_keeps_the_record(configured, tmp_path, monkeypatch):
    """A report that cannot be drawn costs no measurement: the record was written first."""

    def crash(record, folder):
        raise RuntimeError("no fonts")

    with monkeypatch.context() as patched:
        patched.setattr(report, "write", crash)
        with pytest.raises(RuntimeError, match="no fonts"):
            run(configured())
    (folder,) = jobs.waiting(tmp_path / "mlruns")
    assert jobs.read(folder).status is Status.INCORRECT
    study.log_pending([folder])
    assert jobs.waiting(tmp_path / "mlruns") == ()


def test_a_folder_that_the_user_names_is_logged_and_left(configured, tmp_path, monkeypatch):
    """`log FOLDER` removes only what the study itself kept."""
    with monkeypatch.context() as patched:
        break_store(patched)
        run(configured())
    (folder,) = jobs.waiting(tmp_path / "mlruns")
    mine = folder.rename(tmp_path / "mine")
    (logged,) = study.log_pending([mine])
    assert logged.tracking_error is None
    assert (mine / "record.json").is_file()


def test_a_record_is_the_same_when_it_is_read_back(configured, tmp_path, monkeypatch):
    """Nothing of the configuration changes its type on the way through JSON."""
    with monkeypatch.context() as patched:
        break_store(patched)
        finished = run(configured())
    (folder,) = jobs.waiting(tmp_path / "mlruns")
    assert jobs.read(folder) == finished.record
    assert finished.record.config["timing"]["clock"] == "graph"


def test_a_sweep_is_compared_in_a_report_that_is_logged(configured, tmp_path):
    """Two runs of a sweep make one comparison on disk and in the store."""
    config = configured()
    for _ in range(2):
        run(config, sweep="a-sweep")
    run(config, sweep="another")
    store = study.open_store(config.tracking)
    said = study.compare_sweep(store, "a-sweep", tmp_path / "out")
    assert "2 runs" in said
    assert store.ui_command in said
    assert "softmax" in (tmp_path / "out" / "report" / "comparison.md").read_text()


def test_an_unknown_sweep_is_refused_with_those_there_are(configured, tmp_path):
    """A mistyped sweep lists the sweeps of the store."""
    config = configured()
    run(config, sweep="a-sweep")
    with pytest.raises(TrackingError, match=r"'b-sweep'.*a-sweep"):
        study.compare_sweep(study.open_store(config.tracking), "b-sweep", tmp_path / "out")


def on_a_gpu(record, date):
    """Make of a record one whose evaluation was made on a GPU at a date."""
    evaluation = dataclasses.replace(
        record.evaluation, mode=Mode.GPU, environment=build.environment(date=date)
    )
    attempt = dataclasses.replace(record.attempt, evaluation=evaluation)
    return dataclasses.replace(record, attempts=(attempt,))


@pytest.fixture
def record(configured, tmp_path, monkeypatch):
    """Run a study whose record stays on disk."""
    with monkeypatch.context() as patched:
        break_store(patched)
        return run(configured()).record


@pytest.fixture
def shelve(tmp_path, monkeypatch):
    """Have softmax hold records of its own as its recorded evaluations."""
    shelf = tmp_path / "softmax" / "evaluations"
    shelf.mkdir(parents=True)
    elsewhere = dataclasses.replace(operations.load("softmax"), folder=tmp_path / "softmax")
    monkeypatch.setattr(operations, "load", lambda _: elsewhere)

    def keep(*records):
        for number, one in enumerate(records):
            (shelf / f"{number}.json").write_text(to_json(one))

    return keep


@pytest.mark.parametrize("mode", [Mode.INTERPRETER, Mode.GPU])
def test_a_recorded_evaluation_is_shown_only_without_a_gpu(
    mode, record, configured, shelve, monkeypatch
):
    """On a GPU a run's own figures stand alone."""
    shelve(on_a_gpu(record, "2026-11-02T00:00:00+00:00"))
    monkeypatch.setattr(StandInReferee, "mode", mode)
    break_store(monkeypatch)
    kept = run(configured()).record.recorded_evaluation
    assert (kept is not None) is (mode is Mode.INTERPRETER)
    if kept is not None:
        assert kept.environment.gpu.name == "NVIDIA H200"
        assert kept.candidate.implementation.role is Role.CANDIDATE


@pytest.mark.parametrize(
    ("choice", "shown", "said"),
    [
        ("auto", "liger", None),
        ("liger", "liger", None),
        ("none", None, None),
        ("tutorial", None, "holds liger, not expert=tutorial"),
    ],
)
def test_a_recorded_evaluation_shows_no_other_expert_than_was_asked_for(
    choice, shown, said, configured, shelve, monkeypatch
):
    """Another expert's figures are left out everywhere, and one line says which one is recorded."""
    shelve(build.record(build.gpu_evaluation(), source=KERNEL))
    # so that no tutorial is looked for
    monkeypatch.setattr(operations, "with_expert", lambda operation, *_: operation)
    notes = []
    config = configured(f"expert={choice}", *AS_RECORDED)
    finished = run(config, note=notes.append, open_referee=Approving)
    kept = finished.record.recorded_evaluation
    assert (kept.expert.implementation.name if kept.expert else None) == shown
    assert any("liger" in (item.subject, item.reference) for item in kept.comparisons) is (
        shown is not None
    )
    assert [said in note for note in notes if "recorded" in note] == ([True] if said else [])
    assert ("vs liger" in report.headline(finished.record)) is (shown is not None)
    text = Path(finished.report).read_text()
    assert ("liger" in text) is (shown is not None)
    assert ("since none was recorded with expert=tutorial" in text) is (choice == "tutorial")
    assert from_json(StudyRecord, to_json(finished.record)) == finished.record


@pytest.mark.parametrize(
    ("overrides", "shown", "said"),
    [
        ([], ["1024x1024", "2048x2048", "4096x4096", "8192x1024"], []),
        (["timing=host_clock"], None, ["by timing=device, not host_clock, so no times"]),
        (["sizes=large"], None, ["not at 16384x4096"]),
        (
            ["sizes.custom=[[64,64],[1024,1024]]"],
            ["1024x1024"],
            ["was not timed at 64x64: all that is shown is of 1024x1024 alone"],
        ),
        (
            ["contenders=[compile]"],
            ["1024x1024", "2048x2048", "4096x4096", "8192x1024"],
            ["compile"],
        ),
    ],
)
def test_a_recorded_evaluation_is_shown_for_what_was_asked(
    overrides, shown, said, configured, shelve, capsys
):
    """Sizes, timing and contenders of the command line decide, in record, report and terminal."""
    shelve(build.record(build.gpu_evaluation(), source=KERNEL))
    notes = []
    config = configured(*AS_RECORDED, *overrides)
    finished = run(config, note=notes.append, open_referee=Approving)
    kept = finished.record.recorded_evaluation
    assert (None if kept is None else [size.label for size in kept.sizes]) == shown
    told = [note for note in notes if note.startswith("The recorded evaluation")]
    assert [words in note for words, note in zip(said, told, strict=True)] == [True] * len(said)
    show_finished(finished)
    out = capsys.readouterr().out
    assert ("recorded on NVIDIA H200" in out) is (shown is not None)
    assert ("faster" in out) is (shown is not None)
    assert ("these figures are of 1024x1024: none was recorded at 64x64" in out) is (
        shown == ["1024x1024"]
    )
    assert ("NVIDIA H200" in Path(finished.report).read_text()) is (shown is not None)


class Scripted(ScriptedProvider):
    """Answers as the API of a model."""

    def facts(self, prompt):
        """Tell of a machine that suits every prompt."""
        return build.H200_FACTS


@pytest.fixture
def scripted(monkeypatch):
    """Have any model give these answers, one after another."""

    def make(*script):
        provider = Scripted(list(script), name="sonnet")
        monkeypatch.setattr(study, "provider_for", lambda *_: provider)
        return provider

    return make


@pytest.fixture
def unreported(monkeypatch):
    """Leave out reports and MLflow, which take long where they are not looked at."""
    monkeypatch.setattr(jobs, "fill", lambda folder: folder)
    break_store(monkeypatch)


def source_of(word):
    """Make the kernel that an answer of the scripted provider holds."""
    return f"def softmax(x):\n    return x  # {word}\n"


@pytest.mark.usefixtures("unreported")
@pytest.mark.parametrize("sizes", ["study", "smoke"])
def test_the_best_of_several_is_the_fastest_that_is_recorded(sizes, configured, shelve, scripted):
    """Without a GPU the recorded evaluations choose, where they are of what was asked for."""
    quick, slow = build.gpu_evaluation(), build.scaled(build.gpu_evaluation(), 2.0)
    shelve(
        build.record(slow, source=source_of("slow")),
        build.record(quick, source=source_of("quick")),
    )
    scripted(*map(answer, ("unknown", "slow", "quick")))
    notes = []
    config = configured(*AS_RECORDED, f"sizes={sizes}", "strategy=best_of_n", "strategy.n=3")
    record = run(config, note=notes.append, open_referee=Approving).record
    assert record.chosen == (2 if sizes == "study" else 0)
    assert all(attempt.evaluation.mode is Mode.INTERPRETER for attempt in record.attempts)
    wanted = "fastest by the evaluations recorded" if sizes == "study" else "first correct answer"
    assert sum(wanted in note for note in notes) == 1
    # a record stands for an attempt only in the choice
    assert all(attempt.evaluation.comparisons == () for attempt in record.attempts)


@pytest.mark.usefixtures("unreported")
def test_a_file_is_not_judged_as_the_best_of_several(configured):
    """It has one answer, and so the strategy would be ignored."""
    with pytest.raises(ConfigError, match=r"strategy=best_of_n asks for 3 .*model=file"):
        run(configured("strategy=best_of_n"))
    assert StandInReferee.opened == []
    run(configured("strategy=best_of_n", "strategy.n=1"))


@pytest.mark.parametrize(
    ("overrides", "error", "said"),
    [
        (["operation.name=fft"], ConfigError, r"no operation 'fft'; there are .*softmax"),
        (
            ["operation.name=fft", "model=recorded", "model.path=null"],
            ConfigError,
            r"no operation 'fft'; there are .*softmax",
        ),
        (["strategy.name=greedy"], ConfigError, r"no strategy 'greedy'; there are best_of_n"),
        (["prompt.components=[task,magic]"], PromptError, r"'magic', which .*; there are"),
        (["model=recorded"], ConfigError, r"model\.path=.* is of no use with model=recorded"),
    ],
)
def test_what_can_be_known_is_told_before_anything_is_opened(
    overrides, error, said, configured, tmp_path
):
    """Neither the store nor the referee is there when a name turns out to be none."""
    with pytest.raises(error, match=said):
        run(configured(*overrides))
    assert StandInReferee.opened == []
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.usefixtures("unreported")
def test_an_answer_waits_no_longer_than_until_its_record_is_kept(configured, scripted, tmp_path):
    """While it is judged it is on disk; with the record it is not needed any more."""
    home = tmp_path / "mlruns"
    seen = []

    class Looking(StandInReferee):
        def evaluate(self, candidate, upcoming=None):
            seen.append(len(answers.waiting(home)))
            return super().evaluate(candidate, upcoming)

    scripted(answer("a"), answer("b"))
    run(configured("strategy=best_of_n", "strategy.n=2"), open_referee=Looking)
    assert seen == [2, 2]
    assert answers.waiting(home) == ()
    assert len(jobs.waiting(home)) == 1


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), LeaseError("gone"), ZeroDivisionError()])
def test_an_answer_whose_job_does_not_end_waits(fault, configured, scripted, tmp_path):
    """Ctrl-C and faults of the harness cost no answer that was paid for."""

    class Broken(StandInReferee):
        def evaluate(self, candidate, upcoming=None):
            raise fault

    scripted(answer("a"))
    with pytest.raises(type(fault)):
        run(configured(), sweep="a-sweep", open_referee=Broken)
    (folder,) = answers.waiting(tmp_path / "mlruns")
    found = answers.read(folder)
    assert found.completion == answer("a")
    assert (found.operation, found.sweep) == ("softmax", "a-sweep")
    assert found.prompt.text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("http://127.0.0.1:5999", "mine")),
        ({"uri": "http://127.0.0.1:5998"}, ("http://127.0.0.1:5998", "mine")),
        ({"uri": "", "experiment": "other"}, (None, "other")),
    ],
)
def test_a_record_is_logged_where_its_own_configuration_says(
    given, expected, configured, tmp_path, monkeypatch
):
    """A server that was gone is not replaced by the local store, unless that is asked for."""
    home = tmp_path / "mlruns"
    with monkeypatch.context() as patched:
        break_store(patched)
        config = configured()
        local = study.open_store(config.tracking)
        patched.setattr(study, "open_store", lambda _: local)
        config.tracking.uri, config.tracking.experiment = "http://127.0.0.1:5999", "mine"
        finished = run(config)
    assert str(finished.tracking_error).endswith(f"python -m tritonexp log --folder {home}")
    asked = []

    def unreachable(tracking):
        asked.append(tracking)
        raise TrackingError("nobody is there")

    monkeypatch.setattr(study, "open_store", unreachable)
    (folder,) = jobs.waiting(home)
    (logged,) = study.log_pending([folder], **given)
    (tracking,) = asked
    assert (tracking.uri, tracking.experiment, tracking.folder) == (*expected, str(home))
    assert str(logged.tracking_error) == "nobody is there"
    assert jobs.waiting(home) == (folder,)


@pytest.mark.parametrize("text", ["{}", "no json", None])
def test_what_is_no_record_is_refused_by_its_name(text, tmp_path):
    """A broken or absent record.json is named in the message."""
    path = tmp_path / "record.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"record\.json") as raised:
        jobs.read(path)
    # the words of the checking library are for programs
    assert "[type=" not in str(raised.value)
    assert "input_value" not in str(raised.value)


def test_a_record_is_written_whole_or_not_at_all(record, tmp_path, monkeypatch):
    """An interruption while writing leaves no record.json that is half of one."""

    def interrupt(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    again = dataclasses.replace(record, study_id="again")
    with pytest.raises(KeyboardInterrupt):
        jobs.keep(again, tmp_path / "elsewhere")
    assert jobs.waiting(tmp_path / "elsewhere") == ()


def test_no_secret_reaches_the_record(configured, monkeypatch):
    """The key's variable is named in a record, and its value is not."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "not-a-real-key")
    break_store(monkeypatch)
    record = run(configured()).record
    text = to_json(record)
    assert os.environ["ANTHROPIC_API_KEY"] not in text
    assert json.loads(text)["config"]["model"]["api_key_env"] == "ANTHROPIC_API_KEY"
    assert from_json(StudyRecord, text) == record
