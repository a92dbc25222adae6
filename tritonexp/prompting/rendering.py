"""A prompt is the text of its components, in order: templates filled from a brief and facts.

A component is a file `templates/<component>.md.j2`, or a folder `templates/<component>/` with one
file per pattern of operation. A template sees `brief`, and every field of MachineFacts by its name.
The text depends on nothing else: recorded responses are tied to its hash, so a change to a
template makes new recordings necessary.

Does not cover follow-up messages of a dialogue, or system prompts.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritonexp.errors import PromptError
from tritonexp.prompting.leaks import refuse_leaks
from tritonexp.records import MachineFacts, OperationBrief, Prompt

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES_DIR = Path(__file__).resolve().parent / "templates"
SUFFIX = ".md.j2"
KIB = 1024
MIB = 1024 * KIB


def components() -> tuple[str, ...]:
    """List the components that a prompt can be made of, from the directory."""
    files = (path.name.removesuffix(SUFFIX) for path in TEMPLATES_DIR.glob(f"*{SUFFIX}"))
    folders = (path.parent.name for path in TEMPLATES_DIR.glob(f"*/*{SUFFIX}"))
    return tuple(sorted({*files, *folders}))


def patterns(component: str) -> tuple[str, ...]:
    """List the patterns that a component has a text for; none if one text serves all."""
    paths = (TEMPLATES_DIR / component).glob(f"*{SUFFIX}")
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in paths))


def render(
    brief: OperationBrief,
    name: str,
    components: Sequence[str],
    facts: MachineFacts,
    guarded: Mapping[str, str],
) -> Prompt:
    """Render a prompt; `guarded` maps file names to sources that it may hold no line of.

    Raises PromptError for an unknown component, a fact that is not known or a pattern without a
    text, and PromptLeakError for a line of a guarded source.
    """
    if not components:
        raise PromptError(
            f"the prompt {name!r} has no components; list some of {_listing()}"
            f" in conf/prompt/{name}.yaml."
        )
    environment = _environment()
    known = {
        field.name: getattr(facts, field.name)
        for field in dataclasses.fields(facts)
        if getattr(facts, field.name) is not None
    }
    texts = []
    for component in components:
        template = _template_of(component, brief, name)
        _require_facts(environment, template, component, name, set(known))
        text = environment.get_template(template).render(brief=brief, **known)
        texts.append(text.strip("\n"))
    text = "\n\n".join(texts) + "\n"
    # what the brief itself says is meant to be in the prompt, whoever else wrote it too
    refuse_leaks(text, f"{brief.baseline_source}\ndef {brief.signature}:", guarded, prompt=name)
    return Prompt(name=name, components=tuple(components), text=text, facts=facts)


def check_component(component: str, prompt: str) -> None:
    """Raise PromptError for a component that a prompt names and that there is not."""
    if component not in components():
        raise PromptError(
            f"the prompt {prompt!r} asks for the component {component!r}, which does not exist;"
            f" there are {_listing()}. Correct conf/prompt/{prompt}.yaml, or add"
            f" tritonexp/prompting/templates/{component}{SUFFIX}."
        )


def _template_of(component: str, brief: OperationBrief, prompt: str) -> str:
    check_component(component, prompt)
    told = patterns(component)
    if not told:
        return f"{component}{SUFFIX}"
    if brief.pattern not in told:
        raise PromptError(
            f"the component {component!r} of the prompt {prompt!r} has no text for the pattern"
            f" {brief.pattern!r} of {brief.name}; there are {', '.join(told)}. Add"
            f" tritonexp/prompting/templates/{component}/{brief.pattern}{SUFFIX}, correct the"
            " pattern in spec.py, or choose prompt=baseline_only."
        )
    return f"{component}/{brief.pattern}{SUFFIX}"


def _require_facts(
    environment: Environment, template: str, component: str, prompt: str, known: set[str]
) -> None:
    """Refuse a template that names a fact of the machine which is not known."""
    from jinja2 import meta

    source = (TEMPLATES_DIR / template).read_text(encoding="utf-8")
    named = meta.find_undeclared_variables(environment.parse(source))
    facts = [field.name for field in dataclasses.fields(MachineFacts)]
    missing = [fact for fact in facts if fact in named and fact not in known]
    if missing:
        raise PromptError(
            f"the component {component!r} of the prompt {prompt!r} tells of the GPU, but this is"
            f" not known here: {', '.join(missing)}. Run on a machine with a GPU, or choose"
            " model=recorded or prompt=baseline_only, which need none."
        )


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES_DIR, encoding="utf-8"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # the text goes to a model and not into a page
        autoescape=False,  # noqa: S701
    )
    filters: dict[str, Any] = {"fenced": _fenced, "binary_bytes": _binary_bytes, "whole": _whole}
    environment.filters.update(filters)
    return environment


def _fenced(code: str, language: str) -> str:
    # a fence has to be longer than any run of backticks in the code
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code.strip(chr(10))}\n{fence}"


def _binary_bytes(count: int) -> str:
    unit, name = (MIB, "MiB") if count >= MIB else (KIB, "KiB")
    return f"{count / unit:,.1f}".removesuffix(".0") + f" {name}"


def _whole(figure: float) -> str:
    return f"{figure:,.0f}"


def _listing() -> str:
    return ", ".join(components())
