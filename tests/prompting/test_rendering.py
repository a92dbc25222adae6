import dataclasses

import pytest

from tritonexp.errors import PromptError, PromptLeakError
from tritonexp.prompting import components, render
from tritonexp.prompting.rendering import TEMPLATES_DIR, patterns
from tritonexp.records import sha256_of

BASELINE_ONLY = ("task", "baseline", "contract", "versions", "answer")
HARDWARE_AWARE = ("task", "baseline", "contract", "versions", "hardware", "answer")


def test_components_are_listed_from_the_directory():
    """Every template and every folder of templates is a component, and its texts are none."""
    assert {*BASELINE_ONLY, *HARDWARE_AWARE, "hints"} <= set(components())
    assert "fusion" not in components()


def test_prompt_tells_everything_that_the_brief_holds(brief, facts):
    """No field of the brief but its short name and pattern is kept from the model."""
    text = render(brief, "mine", BASELINE_ONLY, facts, {}).text
    assert f"```python\n{brief.baseline_source}```\n" in text
    assert f"```python\ndef {brief.signature}:\n```\n" in text
    assert "- Argument `x`: tensor [rows, cols], contiguous.\n" in text
    assert "- Result: tensor [rows, cols], contiguous," in text
    assert "- Input dtypes to serve: `float32`, `bfloat16`.\n" in text
    assert f"- Shapes to serve: {brief.shapes}\n" in text
    assert f"- Precision: {brief.precision}\n" in text
    assert brief.title in text
    assert "Triton 3.6.0" in text


def test_prompt_record_holds_what_it_was_rendered_from(brief, facts):
    """The name, the components, the facts and the text's hash can be found again."""
    prompt = render(brief, "mine", list(BASELINE_ONLY), facts, {})
    assert (prompt.name, prompt.components, prompt.facts) == ("mine", BASELINE_ONLY, facts)
    assert prompt.sha256 == sha256_of(prompt.text)


def test_components_come_in_the_order_asked_for(brief, facts):
    """The list of components is the order of the text."""
    text = render(brief, "mine", ("answer", "task"), facts, {}).text
    assert text.index("## Answer") < text.index("# Rows scaled")
    assert text.endswith("The file that you send is run as it is.\n")


def test_hardware_figures_are_rounded_and_have_units(brief, facts):
    """Sizes are in KiB and MiB, and the bandwidth is a whole number."""
    text = render(brief, "mine", ("hardware",), facts, {}).text
    assert text == (
        "## Hardware\n"
        "\n"
        "The kernel is timed on one NVIDIA H200:\n"
        "\n"
        "- Compute capability: 9.0\n"
        "- Streaming multiprocessors: 132\n"
        "- Shared memory: at most 227 KiB per block\n"
        "- L2 cache: 60 MiB\n"
        "- Memory bandwidth: 4,257 GB/s (10^9 bytes per second, reads and writes together),"
        " measured with a large copy\n"
    )


def test_size_that_is_no_whole_number_keeps_one_digit(brief, facts):
    """An L2 of 6.5 MiB is not told as 6 or 7."""
    facts = dataclasses.replace(facts, l2_bytes=6815744, shared_memory_per_block_bytes=101376)
    text = render(brief, "mine", ("hardware",), facts, {}).text
    assert "L2 cache: 6.5 MiB" in text
    assert "at most 99 KiB per block" in text


def test_baseline_only_is_the_same_on_every_gpu(brief, facts, facts_without_gpu):
    """A prompt without the hardware takes nothing from the machine but triton's version."""
    same_triton = dataclasses.replace(facts_without_gpu, triton_version=facts.triton_version)
    here = render(brief, "mine", BASELINE_ONLY, facts, {})
    there = render(brief, "mine", BASELINE_ONLY, same_triton, {})
    assert here.text == there.text
    assert here.text != render(brief, "mine", BASELINE_ONLY, facts_without_gpu, {}).text


@pytest.mark.parametrize("pattern", patterns("hints"))
def test_hints_are_advice_in_words(pattern, brief, facts):
    """Every pattern has advice of its own, and none of it is a block of code."""
    text = render(dataclasses.replace(brief, pattern=pattern), "mine", ("hints",), facts, {}).text
    assert text.startswith("## Hints\n\n")
    assert text.count("\n- ") >= 5
    assert "```" not in text
    assert "= tl." not in text
    others = {
        (TEMPLATES_DIR / "hints" / f"{other}.md.j2").read_text(encoding="utf-8")
        for other in patterns("hints")
        if other != pattern
    }
    assert text not in others


def test_baseline_with_backticks_stays_inside_its_fence(brief, facts):
    """Backticks in the source do not end the fence around it."""
    source = brief.baseline_source + 'NOTE = """```\n````"""\n'
    brief = dataclasses.replace(brief, baseline_source=source)
    text = render(brief, "mine", ("baseline",), facts, {}).text
    assert f"`````python\n{source}`````\n" in text


def test_source_that_looks_like_a_template_is_left_alone(brief, facts):
    """Braces in the baseline are text and are not evaluated."""
    source = brief.baseline_source + 'TEXT = "{{ brief.name }} {% if %} <b> &"\n'
    brief = dataclasses.replace(brief, baseline_source=source)
    assert source in render(brief, "mine", ("baseline",), facts, {}).text


@pytest.mark.parametrize("component", ["chat", "../rendering", "hints/fusion", ""])
def test_unknown_component_is_refused_with_those_there_are(component, brief, facts):
    """The message names the component, the prompt's file and the choices."""
    with pytest.raises(PromptError) as error:
        render(brief, "mine", ("task", component), facts, {})
    message = str(error.value)
    assert repr(component) in message
    assert f"there are {', '.join(components())}." in message
    assert "conf/prompt/mine.yaml" in message


def test_prompt_without_components_is_refused(brief, facts):
    """An empty list would send an empty message."""
    with pytest.raises(PromptError, match=r"'mine' has no components; list some of .*answer"):
        render(brief, "mine", (), facts, {})


def test_hardware_without_a_gpu_is_refused_with_a_way_out(brief, facts_without_gpu):
    """Every fact that is not known is named, and so is what to do."""
    with pytest.raises(PromptError) as error:
        render(brief, "mine", HARDWARE_AWARE, facts_without_gpu, {})
    message = str(error.value)
    for field in dataclasses.fields(facts_without_gpu):
        assert (field.name in message) is (field.name != "triton_version")
    for way_out in ("with a GPU", "model=recorded", "prompt=baseline_only"):
        assert way_out in message


def test_one_unknown_fact_is_named_alone(brief, facts):
    """A bandwidth that was not measured is not told as None."""
    facts = dataclasses.replace(facts, bandwidth_gb_s=None)
    with pytest.raises(PromptError, match=r"not known here: bandwidth_gb_s\. Run on"):
        render(brief, "mine", ("hardware",), facts, {})


def test_pattern_without_hints_is_refused_with_those_there_are(brief, facts):
    """The message names the pattern, the operation and the choices."""
    brief = dataclasses.replace(brief, pattern="telepathy")
    with pytest.raises(PromptError) as error:
        render(brief, "mine", ("hints",), facts, {})
    message = str(error.value)
    assert "'telepathy' of scale_rows" in message
    assert ", ".join(patterns("hints")) in message
    assert "templates/hints/telepathy.md.j2" in message


def test_pattern_does_not_matter_to_a_prompt_without_hints(brief, facts):
    """An operation of a new pattern can be run before its hints are written."""
    brief = dataclasses.replace(brief, pattern="telepathy")
    assert render(brief, "mine", BASELINE_ONLY, facts, {}).text


def test_render_refuses_a_leak_through_the_brief(brief, facts, guard):
    """A line of a guarded source in any field of the brief stops the render."""
    line = "running = running * tl.exp(old_max - new_max)"
    brief = dataclasses.replace(brief, precision=f"Use `{line}` throughout.")
    with pytest.raises(PromptLeakError, match=r"'mine' holds line 3 of house\.py"):
        render(brief, "mine", BASELINE_ONLY, facts, guard(f"import triton\n\n{line}\n"))
