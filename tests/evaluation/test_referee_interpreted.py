"""Right and wrong candidates before one referee, in Triton's interpreter.

After every wrong one the same referee judges a right one rightly. Needs no GPU; where there is
one, the referee would use it, and tests/test_gpu_evaluation.py covers that.
"""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import builders as build
import pytest
import torch
from candidates import KERNEL, RIGHT, body, candidate
from processes import children_of

from tritonexp import operations
from tritonexp.errors import ConfigError
from tritonexp.evaluation import Referee, offline, process
from tritonexp.records import Mode, Status, to_json

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU would be used instead")

ROOT = Path(__file__).resolve().parents[2]
RETURN = "return fused(x, torch.empty_like(x))"
# walks up to the loop that serves the referee, and takes its end of the channel
FIND_CHANNEL = """\
frame = sys._getframe()
while "channel" not in frame.f_locals:
    frame = frame.f_back
channel = frame.f_locals["channel"]
"""


def few_sizes():
    """Softmax with the sizes and distributions that tell most for the least time."""
    operation = operations.load("softmax")
    spec = dataclasses.replace(
        operation.spec,
        interpreter=((3, 257), (16, 64)),
        irregular=((1, 1),),
        distributions=("normal", "large", "minus_inf"),
        dtypes=("float32", "float16"),
    )
    return dataclasses.replace(operation, spec=spec)


@pytest.fixture(scope="module")
def judge():
    """One referee for all tests; a call of a candidate may take two seconds."""
    operation = few_sizes()
    size = operation.spec.size((1024, 1024))
    with Referee(operation, sizes=[size], protocol=build.FEW_ROUNDS, timeout_s=2) as made:
        made.wait_ready()
        yield made


@pytest.fixture
def verdict(judge, monkeypatch):
    """The trial of a source, after which a right kernel is judged and nothing is left running."""
    # compiling takes seconds and has tests of its own: here the candidates are only run
    monkeypatch.setattr(offline, "compile_for", lambda *_, **__: ((), None))

    def tried(source):
        found = judge.evaluate(candidate(source)).candidate
        assert children_of(judge._crews.servers()[0]._process.pid) == []
        assert list(judge._crews.servers()[0].folder.glob("crew-*")) == []
        after = judge.evaluate(candidate(RIGHT)).candidate
        assert (after.status, after.reason) == (Status.CORRECT, "")
        return found

    return tried


def test_right_kernel_is_correct_and_nothing_is_timed(judge):
    """All cases pass, the kernel's launches are counted, and no time is invented."""
    found = judge.evaluate(candidate(RIGHT))
    trial = found.candidate
    assert (trial.status, trial.reason) == (Status.CORRECT, "")
    assert found.mode is Mode.INTERPRETER
    assert found.protocol is None
    assert found.ceilings is None
    assert found.comparisons == ()
    assert all(item.timings == () for item in found.trials)
    assert found.environment.gpu is None
    (kernel,) = trial.kernels
    assert kernel.name == "softmax_kernel"
    assert kernel.own
    assert kernel.share is None
    assert kernel.launches >= len(trial.cases)
    assert trial.first_call_s > 0


def test_right_kernel_is_compiled_for_a_named_target(judge, monkeypatch):
    """Registers, shared memory and spills for sm_90 come with the verdict, without a GPU."""
    monkeypatch.setattr(judge, "timeout_s", 120.0)
    (kernel,) = judge.evaluate(candidate(RIGHT)).candidate.compiled
    assert (kernel.name, kernel.target, kernel.fits) == ("softmax_kernel", "sm_90", True)
    assert kernel.num_warps == 8
    assert kernel.registers > 0
    assert kernel.shared_bytes > 0
    assert kernel.spill_bytes == 0
    assert kernel.grid[0] == 1024


def test_cases_cover_dtypes_distributions_and_hidden_sizes(judge, verdict):
    """Each evaluation draws anew what a candidate cannot know: hidden sizes and seeds."""
    first, second = (judge.evaluate(candidate(RIGHT)).candidate.cases for _ in range(2))
    spec = judge.operation.spec
    for cases in (first, second):
        assert {result.case.dtype for result in cases} == set(spec.dtypes)
        assert {result.case.distribution for result in cases} >= set(spec.distributions)
        assert all(result.status is Status.CORRECT for result in cases)
        assert all(result.error_ulp <= result.allowed_error_ulp for result in cases)
    known = {"3x257", "16x64", "1x1"}
    hidden = [{result.case.size.label for result in cases} - known for cases in (first, second)]
    assert all(hidden)
    assert hidden[0] != hidden[1]
    seeds = [{result.case.seed for result in cases} for cases in (first, second)]
    assert not seeds[0] & seeds[1]


def test_fault_of_the_next_candidate_is_told_at_its_own_turn(judge):
    """To begin it early only saves time; who is being judged keeps the verdict."""

    def refuse():
        raise ValueError("the answer cannot be read")

    judge._begin_next(refuse)
    assert judge._crews._next is None


def test_baseline_is_judged_beside_and_the_other_references_are_not(judge, verdict):
    """Where nothing is timed only the baseline runs, on all of the candidate's cases."""
    found = judge.evaluate(candidate(RIGHT))
    (baseline,) = found.references
    assert baseline.implementation.name == "baseline"
    assert baseline.status is Status.CORRECT
    assert [item.case for item in baseline.cases] == [item.case for item in found.candidate.cases]


@pytest.mark.parametrize(
    ("source", "status", "told"),
    [
        ("def softmax(x:\n    return x\n", Status.SYNTAX_ERROR, "line 1"),
        (KERNEL, Status.MISSING_ENTRY_POINT, "'softmax'"),
        (KERNEL + "softmax = 3\n", Status.MISSING_ENTRY_POINT, "softmax is 3, and no function"),
        ("import absent_package\n" + RIGHT, Status.IMPORT_ERROR, "absent_package"),
        ("raise SystemExit(0)\n" + RIGHT, Status.IMPORT_ERROR, "SystemExit"),
        ("import os\nos._exit(0)\n" + RIGHT, Status.CRASHED, "importing the file"),
    ],
    ids=[
        "syntax",
        "no-entry-point",
        "no-function",
        "import",
        "exit-at-import",
        "os-exit-at-import",
    ],
)
def test_file_that_cannot_be_used(verdict, source, status, told):
    """What fails before the first call says what to correct."""
    trial = verdict(source)
    assert trial.status is status
    assert told in trial.reason
    assert is_short(trial.reason)


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        ("raise ValueError('x must be even')", Status.RUNTIME_ERROR, "ValueError: x must be even"),
        ("return fused(x, torch.empty_like(x), 'rows')", Status.RUNTIME_ERROR, "at "),
        ("sys.exit(0)", Status.RUNTIME_ERROR, "SystemExit: 0"),
        ("while True: pass", Status.TIMEOUT, "limit of 2 s"),
        ("os._exit(0)", Status.CRASHED, "exit code 0"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", Status.CRASHED, "SIGSEGV"),
    ],
    ids=["raises", "launch", "sys-exit", "endless", "os-exit", "segv"],
)
def test_call_that_does_not_return(verdict, text, status, told):
    """Exceptions, endless loops and ends of the process are told apart, with the case."""
    begin = time.monotonic()
    trial = verdict(body(text))
    assert time.monotonic() - begin < 20
    assert trial.status is status
    assert told in trial.reason
    assert is_short(trial.reason)
    assert trial.cases[0].status is status
    assert trial.cases[0].error_ulp is None
    if status is Status.RUNTIME_ERROR:
        assert "candidate.py" in trial.log


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ("None", "NoneType"),
        ("(output,)", "tuple"),
        ("[output]", "list"),
        ("output.numpy()", "numpy"),
        ("float(output.sum())", "float"),
        ("torch.nn.Parameter(output)", "Parameter"),
        ("output[:, 1:].contiguous()", "shape"),
        ("output.unsqueeze(0)", "shape"),
        ("output[:-1] if len(output) > 1 else output.flatten()", "shape"),
        ("output.double()", "dtype"),
        ("output.t().contiguous().t() if min(x.shape) > 1 else output.flatten()", ""),
        ("fused(x, x)", "shares its memory"),
        ("x", "shares its memory"),
        ("x.view(x.shape)", "shares its memory"),
        ("output.to('meta')", "device"),
    ],
    ids=[
        "none",
        "tuple",
        "list",
        "numpy",
        "float",
        "parameter",
        "too-few-columns",
        "extra-axis",
        "too-few-rows",
        "double",
        "strided",
        "in-place",
        "input",
        "view",
        "meta",
    ],
)
def test_result_of_another_form(verdict, result, told):
    """Type, shape, dtype, device, strides and memory are held to the baseline's."""
    trial = verdict(body(f"output = fused(x, torch.empty_like(x))\nreturn {result}"))
    assert trial.status is Status.WRONG_FORM
    assert told in trial.reason
    assert is_short(trial.reason)


def test_changed_input(verdict):
    """A right result does not excuse what was done to the input."""
    trial = verdict(body("output = fused(x, torch.empty_like(x))\nx.zero_()\nreturn output"))
    assert trial.status is Status.MUTATED_INPUT
    assert "changed its input" in trial.reason


@pytest.mark.parametrize(
    "text",
    [
        "return fused(x, torch.empty_like(x), (x.shape[0] + 1) // 2 if len(x) > 1 else 0)",
        "return fused(x, torch.empty_like(x), 0 if len(x) == 1 else len(x) - 1)",
        "fused(x, torch.empty_like(x))\nreturn torch.zeros_like(x)",
        "fused(x, torch.empty_like(x))\nreturn torch.ones_like(x)",
        "fused(x, torch.empty_like(x))\nreturn torch.full_like(x, 1 / x.shape[1])",
        "fused(x, torch.empty_like(x))\nreturn x.clone()",
        "fused(x, torch.empty_like(x))\nreturn x - x.amax(dim=1, keepdim=True)",
        "fused(x, torch.empty_like(x))\nreturn torch.empty_like(x)",
        "fused(x, torch.empty_like(x))\nreturn torch.full_like(x, float('nan'))",
        "return fused(x, torch.empty_like(x), scale=1 + 1e-3)",
        "half = x.half().float()\nreturn fused(half, torch.empty_like(half)).to(x.dtype)",
        "half = x.half()\nreturn fused(half, torch.empty_like(half)).to(x.dtype)",
        (
            "output = fused(x, torch.empty_like(x))\n"
            "return output if x.shape[1] < 200 else output.zero_()"
        ),
        "return fused(x.nan_to_num(neginf=-1.0), torch.empty_like(x))",
    ],
    ids=[
        "half-of-rows",
        "all-rows-but-one",
        "zeros",
        "ones",
        "uniform",
        "copy",
        "first-step",
        "unwritten",
        "nan",
        "biased",
        "fp16-input",
        "fp16",
        "small-sizes-only",
        "infinities",
    ],
)
def test_wrong_numbers(verdict, text):
    """Trivial solvers, work half done, less precision and special cases are found out."""
    trial = verdict(body(text))
    assert trial.status is Status.INCORRECT
    assert "float64 gives" in trial.reason
    assert is_short(trial.reason)
    wrong = [item for item in trial.cases if item.status is Status.INCORRECT]
    assert all(item.error_ulp is None or item.error_ulp > item.allowed_error_ulp for item in wrong)
    # enough to see what is wrong, and no more
    assert len(trial.cases) <= 30


@pytest.mark.parametrize(
    "source",
    [
        "import torch\n\n\ndef softmax(x):\n    return torch.softmax(x, dim=1)\n",
        body("return torch.softmax(x, dim=1)"),
        body("return (lambda: 0 and fused(x, x))() or getattr(torch, 'soft' + 'max')(x, 1)"),
    ],
    ids=["torch", "decoy", "hidden"],
)
def test_work_of_others_is_not_triton(verdict, source):
    """A right result without a launched kernel of the file is no Triton kernel."""
    trial = verdict(source)
    assert trial.status is Status.NOT_TRITON
    assert "launched no Triton kernel of the file" in trial.reason
    assert is_short(trial.reason)


@pytest.mark.parametrize(
    "line",
    [
        "from liger_kernel.ops.softmax import LigerSoftmaxFunction",
        f"exec(open({str(ROOT / 'kernels' / 'softmax' / 'house.py')!r}).read())",
        "from tritonexp import operations; operations.load('softmax')",
    ],
    ids=["expert", "house", "baseline"],
)
def test_what_others_wrote_cannot_be_read(verdict, line):
    """Experts, house kernels and the catalogue are beyond a candidate's reach."""
    trial = verdict(f"{line}\n{RIGHT}")
    assert trial.status is Status.IMPORT_ERROR
    assert "Permission" in trial.reason


def test_bits_that_differ_between_two_calls(verdict):
    """A result within tolerance must still be the same for the same input."""
    text = (
        "fused.calls = getattr(fused, 'calls', 0) + 1\n"
        "output = fused(x, torch.empty_like(x))\n"
        "return output * (1 + torch.finfo(x.dtype).eps * (fused.calls % 2))"
    )
    trial = verdict(body(text))
    assert trial.status is Status.NONDETERMINISTIC
    assert "different bits" in trial.reason


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        (f"print('CORRECT' * 10_000)\n{RETURN}", {Status.CORRECT}),
        (f"os.write(1, b'\\xff' * 9000)\nos.write(2, b'\\xff' * 9000)\n{RETURN}", {Status.CORRECT}),
        (f"import atexit\natexit.register(os._exit, 3)\n{RETURN}", {Status.CORRECT}),
        (
            (
                "for number in range(3, 51):\n"
                "    try:\n"
                "        os.write(number, b'CORRECT' * 99)\n"
                "    except OSError:\n"
                f"        pass\n{RETURN}"
            ),
            {Status.TAMPERING},
        ),
        (f"os.closerange(0, 51)\n{RETURN}", {Status.CRASHED}),
        (
            f"subprocess.Popen(['sleep', '300'])\n{RETURN}",
            {Status.CORRECT, Status.TAMPERING},
        ),
        ("raise type('E' * 5_000_000, (Exception,), {})", {Status.CRASHED, Status.TAMPERING}),
        (
            "raise ValueError('\\ud800' * 9)",
            {Status.RUNTIME_ERROR},
        ),
    ],
    ids=[
        "prints",
        "bytes",
        "atexit",
        "descriptors",
        "closes",
        "child",
        "long-name",
        "surrogate",
    ],
)
def test_attack_on_the_worker_is_a_status(verdict, text, statuses):
    """What is done to the worker's surroundings ends in a status, and the next one is judged."""
    trial = verdict(body(text))
    assert trial.status in statuses
    # a record of it can be written
    to_json(trial).encode()


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "launched=None, copied=True",
        "launched={'softmax_kernel': 'many'}, copied=True",
        "launched={'\\ud800': 1}, copied=True",
        "launched={'softmax_kernel': 1}, type='torch.Tensor', results=[]",
        "launched={'softmax_kernel': 1}, copied=True, type='torch.Tensor', results=[7]",
        "error=3",
        "error={'types': 3}",
        "error={'types': ['E'], 'message': {}, 'traceback': []}",
    ],
    ids=["empty", "null", "count", "name", "copied", "results", "error", "types", "traceback"],
)
def test_forged_answer_is_a_status(verdict, answer):
    """A candidate that answers in its worker's place fails, whatever it says."""
    trial = verdict(body(f"{FIND_CHANNEL}channel.reply({answer})\nos._exit(0)"))
    assert trial.status not in (Status.CORRECT, Status.TIMEOUT)
    to_json(trial).encode()


def test_endless_import_is_a_timeout(verdict, monkeypatch):
    """An import has a time limit too."""
    monkeypatch.setattr(process, "START_TIMEOUT_S", 2.0)
    trial = verdict("while True: pass\n" + RIGHT)
    assert trial.status is Status.TIMEOUT
    assert "importing the file" in trial.reason


ATTACK_AND_GO_ON = f"""
import sys
sys.path[:0] = ["tests/fixtures", "tests/evaluation"]
from test_referee_interpreted import *

offline.compile_for = lambda *_, **__: ((), None)
operation = few_sizes()
text = sys.argv[1] + {RETURN!r}
size = operation.spec.size((1024, 1024))
with Referee(operation, sizes=[size], protocol=build.FEW_ROUNDS, timeout_s=5) as judge:
    for source in (body(text), RIGHT, body(text), RIGHT):
        print(judge.evaluate(candidate(source)).candidate.status.value)
"""


@pytest.mark.parametrize(
    "text",
    [
        (
            "for number in range(3, 51):\n"
            "    try:\n        os.ftruncate(number, 0)\n"
            "    except OSError:\n        pass\n"
        ),
        pytest.param("os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(1)\n"),
        pytest.param(
            "import shutil\n"
            "shutil.rmtree(os.path.dirname(os.path.dirname(__file__)), ignore_errors=True)\n",
        ),
    ],
    ids=["truncates-its-memory", "kills-the-fork-server", "removes-the-folder-of-all"],
)
def test_attack_on_the_referee_does_not_outlive_its_evaluation(text):
    """Whatever a candidate did, the referee lives and judges the next one rightly."""
    # in a process of its own: what is attacked here serves the other tests
    done = subprocess.run(
        [sys.executable, "-c", ATTACK_AND_GO_ON, text],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[1::2] == ["CORRECT", "CORRECT"]


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"expert": "nobody"}, "nobody.*liger"),
        ({"contenders": ("cudnn",)}, "cudnn.*torch.*house"),
    ],
    ids=["expert", "contender"],
)
def test_unknown_reference_names_the_known_ones(choice, told):
    """A wrong choice ends before anything is started, and lists what there is."""
    operation = few_sizes()
    with pytest.raises(ConfigError, match=told):
        Referee(operation, sizes=[], protocol=build.FEW_ROUNDS, **choice)


def is_short(reason):
    """Whether a reason is one line that a table can hold."""
    return 0 < len(reason) < 400 and "\n" not in reason
