"""python -m tritonexp: its commands, in process where they can be."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import builders as build
import pytest

from tests.strategies.scripted import ScriptedProvider
from tritonexp import answers, cli, jobs, operations, study
from tritonexp.evaluation import environment
from tritonexp.generation import ProviderSettings, make_provider
from tritonexp.generation.recorded_provider import samples
from tritonexp.prompting import rendering
from tritonexp.records import sha256_of, to_json

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def facts(tmp_path):
    """Write the facts of a GPU to a file."""
    path = tmp_path / "facts.json"
    path.write_text(to_json(build.H200_FACTS))
    return str(path)


def test_operations_lists_every_folder(capsys):
    """Each operation is shown with its pattern and its expert, or - where it has none."""
    assert cli.main(["operations"]) == 0
    shown = capsys.readouterr().out
    for name in operations.names():
        assert name in shown
        assert operations.load(name).spec.pattern in shown
    assert "liger" in shown
    assert "BSD-2-Clause" in shown


def test_prompt_prints_what_a_model_is_shown(capsys, facts):
    """The rendered text holds the baseline and the facts that were given."""
    assert cli.main(["prompt", "softmax", "hardware_aware", "--facts", facts]) == 0
    shown = capsys.readouterr().out
    assert operations.load("softmax").baseline.source.strip() in shown
    assert "NVIDIA H200" in shown


def test_prompt_writes_the_text_that_its_hash_is_of(capsys, facts, tmp_path):
    """The file's bytes hash to what is printed."""
    path = tmp_path / "prompt.md"
    assert cli.main(["prompt", "softmax", "with_hints", "--facts", facts, "-o", str(path)]) == 0
    assert sha256_of(path.read_bytes().decode()) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prompt", "fft", "baseline_only"], "softmax"),
        (["prompt", "softmax", "magic"], "baseline_only"),
        (["prompt", "softmax", "baseline_only", "--facts", "nowhere.json"], "nowhere.json"),
        (["report", "nowhere.json"], "nowhere.json"),
        (["report"], "--sweep"),
        (["log", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_ends_with_one_sentence(arguments, said, capsys, tmp_path, monkeypatch):
    """The message says what was wrong or lists the choices, and the exit status is 1."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert said in shown.err


@pytest.mark.parametrize("given", [True, False])
def test_prompt_of_a_gpu_says_where_its_figures_come_from(given, capsys, tmp_path, monkeypatch):
    """Without a GPU, here or in the file, the message leads to --facts and to who writes it."""
    monkeypatch.setattr(environment, "find_gpu", lambda: None)
    path = tmp_path / "facts.json"
    path.write_text(to_json(build.FACTS))
    told = ["--facts", str(path)] if given else []
    assert cli.main(["prompt", "softmax", "hardware_aware", *told]) == 1
    said = capsys.readouterr().err
    assert f"{path if given else 'this machine'} has none" in said
    assert "--facts facts.json" in said
    assert "python -m tritonexp facts" in said


def test_prompt_with_another_fault_is_not_told_to_find_a_gpu(capsys, tmp_path, monkeypatch):
    """Without a GPU too, a component that does not exist is what the message names."""
    monkeypatch.setattr(environment, "find_gpu", lambda: None)
    monkeypatch.setattr(rendering, "TEMPLATES_DIR", tmp_path)
    assert cli.main(["prompt", "softmax", "hardware_aware"]) == 1
    said = capsys.readouterr().err
    assert "component 'task'" in said
    assert "--facts" not in said


def test_facts_of_another_shape_are_refused(capsys, tmp_path):
    """A facts file that lacks a fact is refused, with the way to make one."""
    path = tmp_path / "facts.json"
    path.write_text(json.dumps({"gpu_name": "a GPU"}))
    assert cli.main(["prompt", "softmax", "baseline_only", "--facts", str(path)]) == 1
    said = capsys.readouterr().err
    assert "tritonexp facts" in said
    assert "triton_version: field required" in said
    path.write_text("{")
    assert cli.main(["prompt", "softmax", "baseline_only", "--facts", str(path)]) == 1
    assert "[type=" not in capsys.readouterr().err


def test_record_keeps_a_response_that_plays_back(capsys, facts, tmp_path, monkeypatch):
    """What `prompt` rendered and a model answered becomes a recorded sample."""
    monkeypatch.setattr(operations, "KERNELS_DIR", tmp_path)
    # load took the real folder when it was defined; only the recording goes elsewhere
    response = tmp_path / "response.md"
    response.write_bytes(b"an answer\r\nword for word")
    arguments = ["record", "softmax", "with_hints", str(response), "--facts", facts]
    assert cli.main([*arguments, "--sample", "1", "--date", "2026-11-23"]) == 0
    folder = tmp_path / "softmax" / "recorded"
    assert samples(folder, "with_hints") == (1,)
    assert (folder / "with_hints" / "01.md").read_bytes().endswith(response.read_bytes())
    # a recording is evidence and is not written over
    assert cli.main([*arguments, "--sample", "1", "--date", "2026-11-23"]) == 1
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("sample", ["0", "-1"])
def test_a_sample_below_one_is_refused(sample, capsys, tmp_path):
    """The option is named, not a path that would be no recording's."""
    arguments = ["record", "softmax", "baseline_only", str(tmp_path / "absent.md")]
    assert cli.main([*arguments, f"--sample={sample}", "--date", "2026-11-23"]) == 1
    said = capsys.readouterr().err
    assert f"--sample {sample}" in said
    assert "1 or more" in said


def test_a_response_without_a_date_is_refused(capsys, facts, tmp_path):
    """Of a file nobody knows when it was given."""
    arguments = ["record", "softmax", "with_hints", str(tmp_path / "a.md"), "--facts", facts]
    assert cli.main([*arguments, "--sample", "1"]) == 1
    assert "--date" in capsys.readouterr().err


@pytest.fixture
def paid(tmp_path):
    """Have an answer wait as an interrupted run leaves it; give its folder."""
    home = tmp_path / "mlruns"
    provider = ScriptedProvider([build.completion("word\r\nfor word", model_answered="claude-x")])
    answers.Keeping(provider, home, "softmax", None, print).complete(build.PROMPT)
    (folder,) = answers.waiting(home)
    return folder


def test_answers_that_wait_are_listed_and_can_be_recorded(paid, capsys, tmp_path, monkeypatch):
    """`log` and `doctor` tell of them, and the command that `log` prints keeps one."""
    monkeypatch.setattr(operations, "KERNELS_DIR", tmp_path)
    home = str(tmp_path / "mlruns")
    assert cli.main(["doctor", "--folder", home]) == 0
    assert f"1: python -m tritonexp log --folder {home}" in capsys.readouterr().out.replace(
        "\n", ""
    )
    assert cli.main(["log", "--folder", home]) == 0
    said = capsys.readouterr().out
    assert "an answer of claude-x to softmax/scripted/baseline_only, " in said
    command = shlex.split(said.partition("python -m tritonexp ")[2].partition("\n")[0])
    assert command == ["record", "softmax", "baseline_only", str(paid), "--sample", "1"]
    assert cli.main(command) == 0
    folder = tmp_path / "softmax" / "recorded"
    settings = ProviderSettings(
        name="recorded", provider="recorded", operation="softmax", recorded_dir=folder
    )
    played = make_provider(settings).complete(build.PROMPT)
    assert (played.text, played.model_answered) == ("word\r\nfor word", "claude-x")
    assert not paid.exists()


def test_an_answer_is_recorded_as_one_to_what_it_answers(paid, capsys, facts):
    """Another prompt is refused, and so are facts, which the answer brings along."""
    for arguments, said in (
        (["with_hints", str(paid)], "answers softmax baseline_only"),
        (["baseline_only", str(paid), "--facts", facts], "--facts"),
    ):
        assert cli.main(["record", "softmax", *arguments, "--sample", "1"]) == 1
        assert said in capsys.readouterr().err
    assert paid.exists()


def test_a_comparison_made_again_knows_the_jobs_that_failed(capsys, tmp_path, monkeypatch):
    """They are taken from the sweep's folder, wherever the comparison is written to."""
    home = tmp_path / "mlruns"
    jobs.sweep_in(home, "the-sweep").mkdir(parents=True)
    jobs.note_failure(jobs.sweep_in(home, "the-sweep"), "model=opus", "no key")
    given = []
    monkeypatch.setattr(study, "open_store", lambda _: None)
    monkeypatch.setattr(study, "compare_sweep", lambda *arguments: given.append(arguments))
    arguments = ["report", "--sweep", "the-sweep", "--folder", str(home)]
    assert cli.main([*arguments, "-o", str(tmp_path / "out")]) == 0
    assert given == [(None, "the-sweep", tmp_path / "out", ["model=opus: no key"])]


def test_a_response_that_is_no_text_is_refused(capsys, facts, tmp_path):
    """Bytes that are not UTF-8 are named, and nothing is written."""
    response = tmp_path / "response.md"
    response.write_bytes(b"\xff\xfe\x00")
    arguments = ["record", "softmax", "with_hints", str(response), "--facts", facts]
    assert cli.main([*arguments, "--sample", "900", "--date", "2026-11-23"]) == 1
    assert "UTF-8" in capsys.readouterr().err


def test_doctor_says_what_works_here(capsys, tmp_path, monkeypatch):
    """Versions, GPU, store and key are told; the key's value is not."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "not-a-real-key")
    assert cli.main(["doctor", "--folder", str(tmp_path / "mlruns")]) == 0
    shown = capsys.readouterr().out
    for word in ("torch", "triton", "GPU", "sandbox", "mlflow", "ANTHROPIC_API_KEY"):
        assert word in shown
    assert os.environ["ANTHROPIC_API_KEY"] not in shown


def test_doctor_fails_where_no_study_can_run(capsys, tmp_path):
    """A store that cannot be used is the harness's fault: exit status 1."""
    folder = tmp_path / "mlruns"
    folder.write_text("a file")
    assert cli.main(["doctor", "--folder", str(folder)]) == 1
    assert "not usable" in capsys.readouterr().out


def test_log_says_so_when_nothing_waits(capsys, tmp_path):
    """Without waiting records there is nothing to do, and that is no failure."""
    assert cli.main(["log", "--folder", str(tmp_path)]) == 0
    assert str(jobs.pending_in(tmp_path)) in capsys.readouterr().out


def test_every_command_is_in_the_help():
    """`python -m tritonexp --help` lists the commands, each with its purpose."""
    result = subprocess.run(
        [sys.executable, "-m", "tritonexp", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    commands = ("report", "log", "operations", "prompt", "record", "facts", "doctor", "redteam")
    for command in commands:
        assert command in result.stdout
