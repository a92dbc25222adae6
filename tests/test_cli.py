"""python -m tritonexp: its commands, in process where they can be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import builders as build
import pytest

from tritonexp import cli, jobs, operations
from tritonexp.evaluation import environment
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
    assert "tritonexp facts" in capsys.readouterr().err


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
