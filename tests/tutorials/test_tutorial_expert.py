"""expert=tutorial from the configuration to a worker, with a file of our own."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import builders as build
import pytest
from tutorial_file import FILE, TEXT

from tritonexp import operations
from tritonexp.config import compose
from tritonexp.errors import ConfigError, ExpertError, PromptLeakError
from tritonexp.evaluation import Referee, crews, offline, referee
from tritonexp.evaluation.forkserver import ForkServer, Settings
from tritonexp.evaluation.memory import Arena
from tritonexp.evaluation.process import Crew
from tritonexp.prompting.leaks import refuse_leaks
from tritonexp.records import Provenance, Role, sha256_of
from tritonexp.report import opening, reproduction
from tritonexp.study import run_study
from tritonexp.tutorials import ANNOUNCEMENT, finding

ROOT = Path(__file__).resolve().parents[2]
WITH_TUTORIAL = [name for name in operations.names() if operations.load(name).tutorials]
KERNEL = "def softmax(x):\n    return x\n"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch, tmp_path):
    monkeypatch.delenv(finding.VARIABLE, raising=False)
    monkeypatch.setenv("TRITONEXP_CACHE", str(tmp_path / "cache"))
    # a port where nobody listens
    monkeypatch.setattr(finding, "URL", "http://127.0.0.1:1/{commit}/{file}")


@pytest.fixture
def folder(tmp_path):
    """A folder of the user's that holds the file."""
    made = tmp_path / "tutorials"
    made.mkdir()
    (made / FILE).write_text(TEXT)
    return made


@pytest.fixture
def softmax():
    """The operation as it is loaded, without its tutorial."""
    return operations.load("softmax")


def test_every_operation_of_the_tutorials_has_an_entry():
    """Softmax, layer norm and matmul each say which file they take and how it is called."""
    files = {name: operations.load(name).tutorials[0].file for name in WITH_TUTORIAL}
    assert files == {
        "layer_norm": "05-layer-norm.py",
        "matmul": "03-matrix-multiplication.py",
        "softmax": FILE,
    }


@pytest.mark.parametrize("name", WITH_TUTORIAL)
def test_a_tutorial_is_no_expert_until_it_is_asked_for(name):
    """Loading reads and downloads nothing, and the default expert stays what it is."""
    experts = operations.load(name).experts
    assert [expert.name for expert in experts] == ([] if name == "matmul" else ["liger"])


def test_the_expert_is_the_reduced_file_and_an_entry_of_ours(softmax, folder):
    """The signature is the baseline's, the text above the tutorial's own, the provenance its."""
    expert = operations.with_expert(softmax, "tutorial", str(folder)).experts[-1]
    signature = softmax.brief.signature.removeprefix("softmax")
    assert (expert.name, expert.role, expert.entry_point) == (
        "tutorial",
        Role.EXPERT,
        "tutorial_softmax",
    )
    tutorial, entry = expert.source.split(f"{ANNOUNCEMENT}\n")
    assert entry == f"def tutorial_softmax{signature}:\n    return softmax(x)\n"
    assert {line for line in tutorial.splitlines() if line} <= set(TEXT.splitlines())
    assert operations.signature_in(expert.source, expert.entry_point).endswith(signature)
    assert expert.provenance == Provenance(
        origin="tutorial",
        name=FILE,
        version=None,
        licence="MIT",
        location=str(folder / FILE),
        sha256=sha256_of(TEXT),
    )


def test_other_experts_are_left_as_they_are(softmax, folder):
    """The tutorial comes last, and joining it again changes nothing."""
    joined = operations.with_expert(softmax, "tutorial", str(folder))
    assert [expert.name for expert in joined.experts] == ["liger", "tutorial"]
    assert operations.with_expert(joined, "tutorial") is joined
    assert operations.with_expert(softmax, "auto") is softmax


def test_the_tutorials_text_is_guarded_from_prompts(softmax, folder):
    """A line of its kernel must not stand in a prompt, as with any expert."""
    guarded = operations.with_expert(softmax, "tutorial", str(folder)).guarded_sources
    with pytest.raises(PromptLeakError, match=FILE):
        refuse_leaks(
            "numerator = tl.exp(x - tl.max(x, axis=0))", "", {FILE: guarded[FILE]}, prompt="p"
        )


def test_a_path_without_a_tutorial_is_refused(softmax):
    """A setting that would have no effect is a mistake, and the message has its value."""
    with pytest.raises(
        ConfigError, match=r"expert\.path=/x is of no use with expert=auto and operation softmax"
    ):
        operations.with_expert(softmax, "auto", "/x")


def test_an_operation_without_a_tutorial_says_what_there_is(softmax):
    """The known experts are listed, and nothing was started."""
    bare = dataclasses.replace(softmax, tutorials=())
    with pytest.raises(ConfigError, match=r"no expert 'tutorial'; there are liger, auto, none\."):
        Referee(bare, sizes=[], protocol=None, expert="tutorial")


def test_an_unknown_expert_is_told_of_the_tutorial(softmax):
    """Though it was not read, it is among those that there are."""
    with pytest.raises(ConfigError, match="there are liger, tutorial, auto, none"):
        referee._references(softmax, "nobody", ())


def test_a_file_of_another_operation_is_refused(folder):
    """A variable that names one file suits one operation, and the others say what they lack."""
    layer_norm = operations.load("layer_norm")
    with pytest.raises(ExpertError, match=rf"{FILE} defines no 'LayerNorm'.*expert\.path"):
        operations.with_expert(layer_norm, "tutorial", str(folder / FILE))


def test_the_path_of_the_configuration_reaches_the_operation(folder, tmp_path):
    """A study joins the expert before the referee is opened, and names it in its record."""
    kernel = tmp_path / "kernel.py"
    kernel.write_text(KERNEL)
    given = {}

    class Opened(Exception):  # noqa: N818 - no error, only the end of the test
        pass

    def open_referee(**arguments):
        given.update(arguments)
        raise Opened

    config = compose(
        [
            "model=file",
            f"model.path={kernel}",
            "expert=tutorial",
            f"expert.path={folder}",
            f"tracking.folder={tmp_path / 'mlruns'}",
        ]
    )
    with pytest.raises(Opened):
        run_study(config, lambda _: None, note=lambda _: None, open_referee=open_referee)
    assert given["expert"] == "tutorial"
    assert given["operation"].experts[-1].provenance.location == str(folder / FILE)
    chosen = referee._references(given["operation"], given["expert"], ())
    assert [item.name for item in chosen] == ["baseline", "tutorial"]


def test_run_ends_with_a_sentence_where_the_file_cannot_be_had(tmp_path):
    """The command line shows one line that starts with error, and no traceback."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "expert=tutorial", f"expert.path={tmp_path}/absent"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: expert.path=")
    assert "Traceback" not in done.stderr


def test_the_report_names_file_commit_address_hash_and_licence():
    """All of where it comes from, in one phrase."""
    said = opening.provenance(
        Provenance(
            origin="tutorial",
            name=FILE,
            version="d6b0238",
            licence="MIT",
            location="https://host/file",
            sha256="8a65b696d5b02a39",
        )
    )
    assert said == (
        f"Triton's tutorial {FILE} d6b0238, `https://host/file`, sha256 8a65b696d5b0, MIT"
    )


def test_the_command_that_repeats_a_job_has_the_path():
    """A path of the user's is needed again."""
    record = build.record(build.gpu_evaluation(), config={"expert": {"path": "/a b"}})
    assert "'expert.path=/a b'" in reproduction.command(record)


# --- the sandbox ---


def test_candidates_cannot_read_the_file_or_the_cache(softmax, folder, tmp_path):
    """Both are among what the candidates' fork server closes, beside the experts' packages."""
    joined = operations.with_expert(softmax, "tutorial", str(folder))
    assert crews.hidden_in(joined) == (
        "liger_kernel.ops.softmax",
        str(tmp_path / "cache" / "tutorials"),
        str(folder / FILE),
    )
    # what its workers import is no module of this name
    assert crews.modules_of(joined.experts) == ("liger_kernel.ops.softmax",)


def test_a_worker_runs_the_tutorials_kernel_from_its_own_copy(softmax, folder, monkeypatch):
    """The expert's text comes to it by the usual door, and its kernel is launched."""
    expert = operations.with_expert(softmax, "tutorial", str(folder)).experts[-1]
    arena = Arena(4096, "cpu")
    server = ForkServer(Settings(None, hidden=(str(folder / FILE),)))
    try:
        x = arena.view(0, (4, 33), "float32")
        x.normal_()
        crew = Crew(server, expert, [arena])
        (worker,) = crew.workers
        worker.finish_start(60)
        slot = {"shape": [4, 33], "dtype": "float32"}
        answer = worker.call(
            "run",
            60,
            arguments=[{"offset": 0, **slot}],
            outputs=[{"offset": 1024, **slot}],
            poison=0xAB,
        )
        assert answer["launched"] == {"tutorial_kernel": 1}
        result = arena.view(1024, (4, 33), "float32")
        assert (result - x.softmax(dim=1)).abs().max() < 1e-6
        crew.close()
    finally:
        server.close()
        arena.close()


# --- the real files ---

INTERPRETED = """
import json, os, sys
from types import SimpleNamespace

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

import test_kernels
from tritonexp import operations
from tritonexp.evaluation import watching

name, path = sys.argv[1:]
# the matmul asks for a target to choose its configurations by
driver.set_active(SimpleNamespace(
    get_current_target=lambda: GPUTarget("cuda", 90, 32),
    get_active_torch_device=lambda: torch.device("cpu"),
    get_benchmarker=lambda: None,
))
watching.make_autotuning_interpretable()
operation = operations.with_expert(operations.load(name), "tutorial", path)
sizes = [
    size for size in test_kernels.small_sizes_of(operation)
    # the tutorial's layer norm takes rows of up to 64 KiB
    if size[-1] <= 16384
]
cases = test_kernels.cases_of(operation, sizes)
print(json.dumps(test_kernels.judged_on(operation.experts[-1], operation, cases, "cpu")))
"""


@pytest.fixture(scope="module")
def tutorials():
    """The folder of the real tutorials, if there is one."""
    given = os.environ.get("TRITON_TUTORIALS")
    if not given:
        pytest.skip("TRITON_TUTORIALS names no folder of Triton's tutorials")
    return given


@pytest.mark.parametrize("name", WITH_TUTORIAL)
def test_the_real_file_holds_what_its_operation_calls(tutorials, name):
    """It is reduced without an error, and every line is the file's own."""
    expert = operations.with_expert(operations.load(name), "tutorial", tutorials).experts[-1]
    own = Path(expert.provenance.location).read_text().split("\n")
    kept = expert.source.partition(ANNOUNCEMENT)[0].split("\n")
    assert all(line in ("", own[index]) for index, line in enumerate(kept))
    for dropped in ("assert torch.allclose", "perf_report", "manual_seed", "do_bench"):
        assert dropped not in expert.source


@pytest.mark.parametrize("name", ["layer_norm", "matmul"])
def test_the_real_kernel_is_right_in_the_interpreter(tutorials, name, tmp_path):
    """Those that ask for no compiled kernel agree with float64 in every dtype."""
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED, name, tutorials],
        env=os.environ
        | {
            "TRITON_INTERPRET": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
            "KERNELS_SCRATCH": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("name", WITH_TUTORIAL)
def test_the_real_kernel_compiles_for_a_gpu(tutorials, name):
    """The unaltered host code, autotuning included, launches a kernel that fits an sm_90."""
    operation = operations.with_expert(operations.load(name), "tutorial", tutorials)
    spec = operation.spec
    kernels, failure = offline.compile_for(
        operation.experts[-1], spec, [spec.size((1024, 1024))], spec.timed_dtype, timeout_s=240
    )
    assert failure is None
    # an autotuner passes over configurations that do not
    assert any(kernel.fits for kernel in kernels)
