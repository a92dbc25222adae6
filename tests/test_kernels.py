"""Every kernel of every operation against its float64 baseline.

Triton reads TRITON_INTERPRET when it is imported, so the kernels run in a process of their own,
one for each operation, which this file is the script of.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tritonexp import operations
from tritonexp.operations import Operation
from tritonexp.records import Case, Implementation

# thousands of rows, each a program of its own, take seconds in the interpreter
INTERPRETER_BYTES = 800_000

NO_INTERPRETER = {
    ("layer_norm", "liger"): "its rsqrt is libdevice's, which the interpreter cannot call",
}


def cases_of(operation: Operation, sizes: list[tuple[int, ...]]) -> list[Case]:
    """Every size and every distribution at least once in each dtype."""
    spec = operation.spec
    count = max(len(sizes), len(spec.distributions))
    return [
        Case(
            size=spec.size(sizes[index % len(sizes)]),
            dtype=dtype,
            distribution=spec.distributions[(index + shift) % len(spec.distributions)],
            seed=index,
        )
        for shift, dtype in enumerate(spec.dtypes)
        for index in range(count)
    ]


def small_sizes_of(operation: Operation) -> list[tuple[int, ...]]:
    """List the interpreter's sizes and the irregular ones that it can do in a moment."""
    spec = operation.spec
    listed = dict.fromkeys((*spec.interpreter, *spec.irregular))
    return [
        extents
        for extents in listed
        if spec.call_bytes(spec.size(extents), spec.timed_dtype) <= INTERPRETER_BYTES
    ]


def sides_of(operation: Operation) -> tuple[Implementation, ...]:
    """All that are compared, the baseline first."""
    return (operation.baseline, *operation.experts, *operation.contenders)


def judged_on(
    implementation: Implementation, operation: Operation, cases: list[Case], device: str
) -> list[str]:
    """Why each case that failed did so; empty where the implementation is right."""
    from tritonexp.evaluation import correctness, inputs

    spec = operation.spec
    function = loaded(implementation)
    failures = []
    for case in cases:
        arguments = inputs.make_arguments(spec, case, device)
        expected = correctness.reference(operation.function, arguments)
        baseline = correctness.judge(
            as_list(operation.function(*arguments)), expected, None, spec, case
        )
        assert baseline.reason == "", f"the baseline itself is off on {case}: {baseline.reason}"
        got = as_list(function(*arguments))
        for out, wanted in zip(got, expected, strict=True):
            assert out.shape == wanted.shape
            assert str(out.dtype) == f"torch.{case.dtype}"
        result = correctness.judge(got, expected, baseline.error_ulp, spec, case)
        if result.reason:
            failures.append(f"{case}: {result.reason}")
    return failures


def loaded(implementation: Implementation) -> Any:
    """Load the function of an implementation from a file, as Triton needs it."""
    import importlib.util

    folder = Path(tempfile.mkdtemp(dir=os.environ["KERNELS_SCRATCH"]))
    path = folder / f"{implementation.name}.py"
    path.write_text(implementation.source)
    found = importlib.util.spec_from_file_location(implementation.name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return getattr(module, implementation.entry_point)


def as_list(result: Any) -> list[Any]:
    """List the results of a call, one or several."""
    return list(result) if isinstance(result, tuple) else [result]


@functools.cache
def interpreted(name: str) -> dict[str, list[str]]:
    """Run a process with Triton's interpreter; what it found wrong, by implementation."""
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch) / "answer.json"
        done = subprocess.run(
            [sys.executable, __file__, name, str(answer)],
            env={
                **os.environ,
                "TRITON_INTERPRET": "1",
                "CUDA_VISIBLE_DEVICES": "",
                "PYTHONPATH": str(operations.KERNELS_DIR.parent),
                "KERNELS_SCRATCH": scratch,
            },
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        found: dict[str, list[str]] = json.loads(answer.read_text())
        return found


def interpreted_sides() -> list[Any]:
    """Operation and implementation, with a strict mark where the interpreter cannot run it."""
    return [
        pytest.param(
            name,
            side.name,
            marks=pytest.mark.xfail(strict=True, reason=NO_INTERPRETER[name, side.name])
            if (name, side.name) in NO_INTERPRETER
            else (),
        )
        for name in operations.names()
        for side in sides_of(operations.load(name))[1:]
    ]


@pytest.mark.parametrize(("name", "side"), interpreted_sides())
def test_kernel_is_right_in_the_interpreter(name: str, side: str) -> None:
    """Experts, contenders and the house kernel agree with float64 in every dtype."""
    assert interpreted(name)[side] == []


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "side"),
    [(name, s.name) for name in operations.names() for s in sides_of(operations.load(name))[1:]],
)
def test_kernel_is_right_on_a_gpu(
    name: str, side: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same at every irregular size, compiled."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA GPU")
    monkeypatch.setenv("KERNELS_SCRATCH", str(tmp_path))
    operation = operations.load(name)
    implementation = next(s for s in sides_of(operation) if s.name == side)
    cases = cases_of(operation, list(operation.spec.irregular))
    assert judged_on(implementation, operation, cases, "cuda") == []


@pytest.mark.parametrize("name", operations.names())
def test_baseline_returns_what_the_spec_says(name: str) -> None:
    """As many results as the spec lists, of its shapes and the arguments' dtype."""
    from tritonexp.evaluation import inputs

    operation = operations.load(name)
    for case in cases_of(operation, list(operation.spec.interpreter)):
        results = as_list(operation.function(*inputs.make_arguments(operation.spec, case, "cpu")))
        assert [tuple(result.shape) for result in results] == [
            operation.spec.shape_of(axes, case.size) for axes in operation.spec.outputs
        ]
        assert {str(result.dtype) for result in results} == {f"torch.{case.dtype}"}


@pytest.mark.parametrize("name", operations.names())
def test_small_sizes_reach_every_triton_kernel_of_the_house(name: str) -> None:
    """Each @triton.jit function of house.py ran in the interpreter, or it was not tested at all."""
    operation = operations.load(name)
    house = operation.contenders[-1]
    written = {
        line.removeprefix("def ").partition("(")[0]
        for before, line in zip(
            house.source.splitlines(), house.source.splitlines()[1:], strict=False
        )
        if before.startswith("@triton.jit")
    }
    assert written
    assert set(interpreted(name)["kernels of the house"]) == written


def main(name: str, answer: Path) -> None:
    """Judge every side of an operation in this process, whose Triton interprets."""
    from triton.runtime.interpreter import InterpretedFunction

    launched: set[str] = set()
    inner = InterpretedFunction.run

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        launched.add(self.fn.__name__)
        return inner(self, *args, **kwargs)

    InterpretedFunction.run = run
    operation = operations.load(name)
    cases = cases_of(operation, small_sizes_of(operation))
    found: dict[str, list[str]] = {}
    for side in sides_of(operation)[1:]:
        launched.clear()
        try:
            found[side.name] = judged_on(side, operation, cases, "cpu")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this side's finding
            found[side.name] = [f"{type(error).__name__}: {error}"]
    found["kernels of the house"] = sorted(launched)
    answer.write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
