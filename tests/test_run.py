"""run.py end to end, as a user starts it: real evaluation in the interpreter, a real store."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tritonexp import answers, jobs
from tritonexp.records import Mode, Status
from tritonexp.tracking import Store

# tests are no package, so what they share is found by its folder
sys.path.insert(0, str(Path(__file__).parent / "fixtures"))

from api_server import ApiServer, End, Reply

ROOT = Path(__file__).resolve().parent.parent
KERNEL = """
import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, out_ptr, x_row_stride, n_cols, BLOCK_SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK_SIZE)
    mask = cols < n_cols
    x = tl.load(x_ptr + row * x_row_stride + cols, mask=mask, other=-float("inf")).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=0))
    out = numerator / tl.sum(numerator, axis=0)
    tl.store(out_ptr + row * n_cols + cols, out, mask=mask)


def softmax(x):
    out = torch.empty_like(x)
    n_rows, n_cols = x.shape
    block = triton.next_power_of_2(n_cols)
    softmax_kernel[(n_rows,)](x, out, x.stride(0), n_cols, BLOCK_SIZE=block)
    return out
"""
WRONG = KERNEL.replace("tl.exp(x - tl.max(x, axis=0))", "tl.exp(x - tl.max(x, axis=0)) * 1.01 + 1")
# found by reading the file, so that nothing has to run
BROKEN = "def softmax(x:\n"


def start(folder, *arguments, **environment):
    """Start run.py in a folder, without a GPU and without a key."""
    clean = {name: text for name, text in os.environ.items() if name != "ANTHROPIC_API_KEY"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        cwd=folder,
        env=clean | {"CUDA_VISIBLE_DEVICES": "", "COLUMNS": "160"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(folder, *arguments, **environment):
    """Run run.py in a folder to its end."""
    process = start(folder, *arguments, **environment)
    out, err = process.communicate(timeout=280)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Sweep over a right, a wrong, a broken and an absent kernel."""
    folder = tmp_path_factory.mktemp("sweep")
    for name, text in {"right": KERNEL, "wrong": WRONG, "broken": BROKEN}.items():
        (folder / f"{name}.py").write_text(text)
    paths = "model.path=right.py,wrong.py,broken.py,absent.py"
    return folder, run(folder, "-m", "model=file", paths, "sizes=smoke")


def sweep_id(folder):
    """Read the only sweep's id off its folder."""
    (found,) = (folder / "mlruns" / "sweeps").iterdir()
    return found.name


def test_each_kernel_of_a_sweep_gets_its_verdict(sweep):
    """The right kernel is CORRECT, the wrong one INCORRECT, the broken one a SYNTAX_ERROR."""
    folder, result = sweep
    records = Store.open(folder / "mlruns").records(sweep_id(folder))
    found = {record.config["model"]["path"]: record.status for record in records}
    assert found == {
        "right.py": Status.CORRECT,
        "wrong.py": Status.INCORRECT,
        "broken.py": Status.SYNTAX_ERROR,
    }, result.stderr


def test_nothing_is_timed_without_a_gpu(sweep):
    """The run says so in a line, and no record holds a time."""
    folder, result = sweep
    assert "No GPU here" in result.stderr
    for record in Store.open(folder / "mlruns").records(sweep_id(folder)):
        assert record.evaluation.mode is Mode.INTERPRETER
        assert all(trial.timings == () for trial in record.evaluation.trials)


def test_a_job_that_fails_is_named_and_the_others_go_on(sweep):
    """An absent file is the only failure, is named at the end, and makes the exit status 1."""
    _, result = sweep
    assert result.returncode == 1
    ending = result.stderr.partition("1 failed:")[2]
    assert "absent.py" in ending
    assert "right.py" not in ending
    assert "Traceback" not in result.stderr


def test_a_sweep_ends_with_a_comparison(sweep):
    """The comparison is on disk and can be made again by the command that is documented.

    Both times it names the job that could not be done.
    """
    folder, result = sweep
    path = folder / "mlruns" / "sweeps" / sweep_id(folder) / "report" / "comparison.md"
    assert str(path.relative_to(folder)) in result.stdout
    assert "absent.py" in path.read_text()
    path.unlink()
    again = subprocess.run(
        [sys.executable, "-m", "tritonexp", "report", "--sweep", sweep_id(folder)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert "softmax" in path.read_text()
    assert "absent.py" in path.read_text()


def test_a_run_leaves_nothing_but_mlruns(sweep):
    """No outputs/, no multirun/ and no log files; nothing waits to be logged."""
    folder, _ = sweep
    assert {path.name for path in folder.iterdir()} - {"right.py", "wrong.py", "broken.py"} == {
        "mlruns"
    }
    assert list(folder.rglob("*.log")) == []
    assert jobs.waiting(folder / "mlruns") == ()


def test_a_kernel_that_is_not_even_python_exits_with_zero(tmp_path):
    """A wrong kernel is a result: a table, the report, the UI's command, exit status 0."""
    (tmp_path / "kernel.py").write_text(BROKEN)
    result = run(tmp_path, "model=file", "model.path=kernel.py", "sizes=smoke")
    assert result.returncode == 0, result.stderr
    assert "SYNTAX_ERROR" in result.stdout
    assert "mlflow" in result.stdout
    (said,) = (line for line in result.stdout.splitlines() if line.startswith("report: "))
    assert (tmp_path / said.removeprefix("report: ")).is_file()


@pytest.mark.parametrize("flag", [(), ("-m",)])
def test_a_store_that_cannot_be_used_ends_in_one_sentence(flag, tmp_path):
    """A file in the store's place is said before any job runs, in a sweep as in a single run."""
    (tmp_path / "mlruns").write_text("a file")
    (tmp_path / "kernel.py").write_text(KERNEL)
    result = run(tmp_path, *flag, "model=file", "model.path=kernel.py")
    assert result.returncode == 1
    (said,) = (line for line in result.stderr.splitlines() if "error" in line)
    assert "mlruns" in said
    assert "Traceback" not in result.stderr
    assert "opening the referee" not in result.stderr


def test_a_missing_key_ends_in_one_sentence(tmp_path):
    """The message says what to set and which models need no key; nothing is left behind."""
    result = run(tmp_path, "model=sonnet")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "ANTHROPIC_API_KEY" in result.stderr
    assert "recorded" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_at_once_without_a_traceback(tmp_path):
    """An interrupt in the middle of the verification ends with status 130 and a line."""
    (tmp_path / "kernel.py").write_text(KERNEL)
    process = start(tmp_path, "model=file", "model.path=kernel.py", PYTHONUNBUFFERED="1")
    seen = []
    for line in process.stderr:
        seen.append(line)
        if "verifying" in line:
            break
    else:
        pytest.fail(f"never began to verify: {''.join(seen)}")
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "interrupted\nnothing waits" in err
    assert "Traceback" not in err


def test_models_are_compared_against_a_local_server(tmp_path):
    """`-m model=sonnet,opus` asks each model through the SDK and compares their runs."""
    texts = {
        "claude-sonnet-5-5": f"Here it is.\n\n```python\n{BROKEN}```\n",
        "claude-opus-5-5": "I would rather not.",
    }
    # neither is answered before both are asked
    with ApiServer(texts, together=2) as server:
        result = run(
            tmp_path,
            "-m",
            "model=sonnet,opus",
            "sizes=smoke",
            f"model.base_url={server.url}",
            ANTHROPIC_API_KEY="of-the-test",
        )
        asked = {request.body["model"] for request in server.requests}
    assert result.returncode == 0, result.stderr
    assert asked == set(texts)
    records = Store.open(tmp_path / "mlruns").records(sweep_id(tmp_path))
    found = {record.choices.model: record.status for record in records}
    assert found == {"sonnet": Status.SYNTAX_ERROR, "opus": Status.NO_CODE}
    assert all(record.cost_usd for record in records)


class Kernels(ApiServer):
    """Answers with a file that is not even Python, and says which model it is of."""

    def text_for(self, received):
        """Tell the operation by the prompt."""
        prompt = received.body["messages"][0]["content"]
        (name,) = (name for name in ("softmax", "layer_norm") if f"def {name}(" in prompt)
        return f"```python\ndef {name}(x:  # by {received.body['model']}\n```\n"


def test_the_models_of_a_sweep_are_asked_together_and_each_job_gets_its_answer(tmp_path):
    """No answer comes before all four questions are open, and none goes to another job."""
    with Kernels(together=4) as server:
        result = run(
            tmp_path,
            "-m",
            "model=sonnet,opus",
            "operation=softmax,layer_norm",
            "sizes=smoke",
            f"model.base_url={server.url}",
            ANTHROPIC_API_KEY="of-the-test",
        )
        assert len(server.requests) == 4
    assert result.returncode == 0, result.stderr
    records = Store.open(tmp_path / "mlruns").records(sweep_id(tmp_path))
    assert {record.status for record in records} == {Status.SYNTAX_ERROR}
    found = {
        (record.choices.model, record.choices.operation): record.attempt.source.strip()
        for record in records
    }
    assert found == {
        (model, operation): f"def {operation}(x:  # by claude-{model}-5-5"
        for model in ("sonnet", "opus")
        for operation in ("softmax", "layer_norm")
    }
    assert "4 runs compared" in result.stdout


def test_what_fails_ahead_is_told_at_its_own_job(tmp_path):
    """Hints tell of a GPU, and there is none: both models are asked the other prompt together."""
    with Kernels(together=2) as server:
        result = run(
            tmp_path,
            "-m",
            "model=sonnet,opus",
            "prompt=baseline_only,with_hints",
            "sizes=smoke",
            f"model.base_url={server.url}",
            ANTHROPIC_API_KEY="of-the-test",
        )
        assert len(server.requests) == 2
    assert result.returncode == 1
    assert "2 runs compared" in result.stdout
    assert "Traceback" not in result.stderr
    # each job tells of its own error when it is its turn, and the end lists both
    told = [line.strip() for line in result.stderr.splitlines() if "'hardware' of" in line]
    begin = ["error: ", "error: ", "model=sonnet prompt=with_hints", "model=opus prompt=with_hints"]
    assert len(told) == len(begin)
    assert all(line.startswith(start) for line, start in zip(told, begin, strict=True)), told


@pytest.mark.parametrize(
    ("flag", "override", "said"),
    [
        ((), "model.id=claude-none", "model: claude-none"),
        (("-m",), "model.base_url=", "correct model.base_url"),
    ],
    ids=["one", "sweep"],
)
def test_a_fault_of_the_settings_is_not_counted_as_the_models(flag, override, said, tmp_path):
    """A model that there is not and an address where nobody listens end with 1 and no run."""
    with ApiServer() as gone:
        url = gone.url
    with ApiServer() as server:
        given = f"{override}{url}" if override.endswith("=") else override
        result = run(
            tmp_path,
            *flag,
            "model=sonnet",
            "sizes=smoke",
            f"model.base_url={server.url}",
            given,
            ANTHROPIC_API_KEY="of-the-test",
        )
    assert result.returncode == 1
    assert said in result.stderr
    assert "API_ERROR" not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("flag", [(), ("-m",)])
def test_ctrl_c_does_not_wait_for_a_slow_answer(flag, tmp_path):
    """Two of three answers are stuck in their middle; the one that came is kept and told of."""
    home = tmp_path / "mlruns"
    with ApiServer() as server:
        stuck = Reply(text="Here it is.", end=End.SILENCE)
        server.play(Reply(text="paid for"), stuck, stuck)
        process = start(
            tmp_path,
            *flag,
            "model=sonnet",
            "strategy=best_of_n",
            "sizes=smoke",
            f"model.base_url={server.url}",
            ANTHROPIC_API_KEY="of-the-test",
        )
        assert server.wait_for_requests(3)
        while not answers.waiting(home):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        # the server would keep silent for longer
        _, err = process.communicate(timeout=25)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert f"interrupted\nanswers that were paid for in {Path('mlruns', 'answers')}: 1\n" in err
    assert "python -m tritonexp log\n" in err
    if flag:
        assert f"  python -m tritonexp report --sweep {sweep_id(tmp_path)}\n" in err
    (folder,) = answers.waiting(home)
    assert (folder / "response.md").read_text() == "paid for"
