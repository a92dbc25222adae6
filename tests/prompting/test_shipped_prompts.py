"""Every prompt of conf/prompt/ over every operation in kernels/, by listing both directories."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tritonexp import operations
from tritonexp.errors import PromptLeakError
from tritonexp.prompting import render
from tritonexp.prompting.leaks import _padded, significant_lines
from tritonexp.records import MachineFacts, to_json

PROMPT_DIR = Path(__file__).resolve().parents[2] / "conf" / "prompt"
PROMPTS = {path.stem: yaml.safe_load(path.read_text()) for path in PROMPT_DIR.glob("*.yaml")}
RECORDINGS = sorted(operations.KERNELS_DIR.glob("*/recorded/*/*.md"))


def rendered(operation: operations.Operation, name: str, facts) -> str:
    """Render a shipped prompt of an operation, guarded as a study guards it."""
    listed = PROMPTS[name]["components"]
    return render(operation.brief, name, listed, facts, operation.guarded_sources).text


@pytest.fixture(scope="module", params=operations.names())
def operation(request) -> operations.Operation:
    """Load each operation once."""
    return operations.load(request.param)


@pytest.mark.parametrize("name", sorted(PROMPTS))
def test_prompt_of_an_operation_is_complete_and_leaks_nothing(operation, name, facts):
    """Every prompt shows the baseline and the signature, and no line of an expert or house."""
    text = rendered(operation, name, facts)
    assert operation.brief.baseline_source.strip("\n") in text
    assert f"def {operation.brief.signature}:" in text
    assert operation.spec.shapes in text
    assert operation.spec.precision in text
    assert all(f"`{dtype}`" in text for dtype in operation.spec.dtypes)
    assert "None" not in text.replace(operation.brief.baseline_source, "")
    for told in ("expert", "liger", "tutorial", "house"):
        assert told not in text.lower()
    assert all(f"- Argument `{argument.name}`: " in text for argument in operation.brief.arguments)


def test_only_hardware_aware_prompts_tell_of_the_gpu(operation, facts):
    """The baseline's prompt knows neither the GPU nor a hint."""
    for figure in ("H200", "132", "227 KiB", "60 MiB", "4,257 GB/s"):
        assert figure not in rendered(operation, "baseline_only", facts)
        assert figure in rendered(operation, "hardware_aware", facts)
        assert figure in rendered(operation, "with_hints", facts)


def test_only_with_hints_gives_hints(operation, facts):
    """What with_hints adds to hardware_aware is the hints and nothing else."""
    plain = rendered(operation, "hardware_aware", facts)
    hinted = rendered(operation, "with_hints", facts)
    assert "## Hints" not in rendered(operation, "baseline_only", facts)
    assert "## Hints" not in plain
    before, _, rest = hinted.partition("## Hints")
    hints, answer, after = rest.partition("## Answer")
    assert before + answer + after == plain
    assert hints.count("\n- ") >= 5


def test_guard_works_for_every_guarded_source(operation, facts):
    """A line of any expert's module, adapter or house kernel in a brief stops the render."""
    assert {"house.py", "experts.py"} <= set(operation.guarded_sources)
    # the module of an expert that comes from a package is guarded beside its adapter
    assert len(operation.guarded_sources) >= 2 + bool(operation.experts)
    listed = PROMPTS["baseline_only"]["components"]
    shown = rendered(operation, "baseline_only", facts)
    for file, source in operation.guarded_sources.items():
        lines = [
            line
            for _, line in significant_lines(source, file)
            # such as the function's head, which the model is given
            if _padded(line) not in _padded(shown)
        ]
        assert lines or (file == "experts.py" and not operation.experts)
        # a few lines of each file: a render for every line would be slow
        for line in lines[:: max(1, len(lines) // 8)]:
            brief = dataclasses.replace(operation.brief, shapes=f"Any. {line}")
            with pytest.raises(PromptLeakError, match="which the model must"):
                render(brief, "baseline_only", listed, facts, operation.guarded_sources)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: "/".join(path.parts[-4:]))
def test_recorded_response_belongs_to_the_prompt_of_today(path):
    """No change to a template, a baseline or a spec has orphaned a recording."""
    front = yaml.safe_load(path.read_text(encoding="utf-8").split("---\n")[1])
    recorded_facts = MachineFacts(**front["facts"])
    of = operations.load(path.parts[-4])
    listed = PROMPTS[path.parts[-2]]["components"]
    prompt = render(of.brief, path.parts[-2], listed, recorded_facts, of.guarded_sources)
    assert front["prompt_sha256"] == prompt.sha256


@pytest.mark.parametrize("name", sorted(PROMPTS))
def test_text_is_the_same_in_another_process(operation, name, facts):
    """The text depends on no hash seed, locale, time zone or folder."""
    program = (
        "import sys; from tritonexp.prompting import render;"
        "from tritonexp.records import MachineFacts, OperationBrief, from_json;"
        "brief, facts, listed = sys.argv[1:4];"
        "brief = from_json(OperationBrief, brief); facts = from_json(MachineFacts, facts);"
        f"print(render(brief, {name!r}, listed.split(','), facts, {{}}).sha256)"
    )
    listed = PROMPTS[name]["components"]
    answer = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            to_json(operation.brief),
            to_json(facts),
            ",".join(listed),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env={
            "PYTHONPATH": str(PROMPT_DIR.parents[1]),
            "PYTHONHASHSEED": "7",
            "LC_ALL": "C",
            "TZ": "Asia/Tokyo",
        },
    )
    expected = render(operation.brief, name, listed, facts, operation.guarded_sources)
    assert answer.stdout.strip() == expected.sha256


@pytest.mark.parametrize("name", sorted(PROMPTS))
def test_prompt_file_is_named_as_it_says(name):
    """The name in results is the choice on the command line."""
    assert set(PROMPTS[name]) == {"name", "components"}
    assert PROMPTS[name]["name"] == name
