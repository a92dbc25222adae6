"""Every file of conf/ composes, and what is wrong is refused with what was allowed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tritonexp import operations, prompting
from tritonexp.config import CONF_DIR, StudyConfig, compose
from tritonexp.errors import ConfigError
from tritonexp.generation import provider_names
from tritonexp.study import choices_of, provider_for, referee_arguments

ROOT = Path(__file__).resolve().parent.parent
CHOICES = sorted((path.parent.name, path.stem) for path in CONF_DIR.glob("*/*.yaml"))
GROUPS = sorted({group for group, _ in CHOICES} - {"experiment"})


def choices(group: str) -> list[str]:
    """List the choices of a group."""
    return [name for one, name in CHOICES if one == group]


def test_defaults_are_the_ones_that_are_promised():
    """`python run.py` alone plays a recorded answer for softmax at the study's sizes."""
    made = choices_of(compose([]))
    assert (made.operation, made.model, made.prompt) == ("softmax", "recorded", "baseline_only")
    assert (made.strategy, made.sizes, made.timing) == ("single_shot", "study", "device")
    assert (made.expert, made.seed) == ("auto", 0)


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_file_composes(group, name):
    """A choice fits its type; outside of experiment and tracking it bears its file's name."""
    config = compose([f"{group}={name}"])
    assert isinstance(config, StudyConfig)
    if group not in {"experiment", "tracking"}:
        assert getattr(config, group).name == name


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_key_has_a_comment_above_it(group, name):
    """Each top-level key of each file is explained."""
    lines = (CONF_DIR / group / f"{name}.yaml").read_text().splitlines()
    bare = [
        line
        for above, line in zip(["", *lines], lines, strict=False)
        if line[:1].isalpha() and line != "hydra:" and not above.startswith("#")
    ]
    assert bare == []


@pytest.mark.parametrize("name", choices("experiment"))
def test_an_experiment_is_headed_by_the_command_that_runs_it(name):
    """The header can be pasted."""
    text = (CONF_DIR / "experiment" / f"{name}.yaml").read_text()
    assert f"python run.py experiment={name}" in text


@pytest.mark.parametrize("name", choices("experiment"))
def test_an_experiment_sweeps_over_choices_that_exist(name):
    """What an experiment sweeps over is in the directories."""
    body = yaml.safe_load((CONF_DIR / "experiment" / f"{name}.yaml").read_text())
    for group, values in body["hydra"]["sweeper"]["params"].items():
        assert set(values.split(",")) <= set(choices(group))


def test_every_operation_has_a_choice():
    """A folder under kernels/ and a file in conf/operation/ come together."""
    assert choices("operation") == list(operations.names())


@pytest.mark.parametrize("operation", choices("operation"))
@pytest.mark.parametrize("sizes", choices("sizes"))
def test_every_ladder_suits_every_operation(operation, sizes):
    """No operation refuses a size of a ladder that is shipped."""
    config = compose([f"operation={operation}", f"sizes={sizes}"])
    arguments = referee_arguments(config, operations.load(operation))
    assert len(arguments["sizes"]) == len(config.sizes.ladder)


@pytest.mark.parametrize("model", choices("model"))
def test_every_model_names_a_provider_that_exists(model):
    """The provider of each model is a module, and takes the model's settings."""
    config = compose([f"model={model}"])
    assert config.model.provider in provider_names()
    assert provider_for(config.model, "softmax").name == model


def test_claude_models_are_asked_with_the_same_effort():
    """A comparison of models is not confounded by defaults of effort that differ."""
    asked = {name: compose([f"model={name}"]).model for name in choices("model")}
    claude = {
        name: one
        for name, one in asked.items()
        if one.provider == "anthropic" and one.base_url is None
    }
    del claude["sonnet_4_5"]  # takes no effort
    assert len(claude) >= 4
    assert len({one.effort for one in claude.values()}) == 1
    assert None not in {one.effort for one in claude.values()}
    assert all(one.id and one.input_usd_per_mtok for one in claude.values())


@pytest.mark.parametrize("prompt", choices("prompt"))
def test_every_prompt_is_made_of_components_that_exist(prompt):
    """A prompt's components are templates."""
    assert set(compose([f"prompt={prompt}"]).prompt.components) <= set(prompting.components())


def test_custom_sizes_take_the_ladders_place():
    """sizes.custom is used, and runs call it custom."""
    config = compose(["sizes.custom=[[1823,781]]"])
    sizes = referee_arguments(config, operations.load("softmax"))["sizes"]
    assert [size.label for size in sizes] == ["1823x781"]
    assert choices_of(config).sizes == "custom"


@pytest.mark.parametrize("custom", ["[[0,5]]", "[[1,2,3,4]]", "[[9999999,5]]"])
def test_impossible_sizes_are_refused(custom):
    """An extent of zero, too many extents and one beyond the operation's largest are errors."""
    config = compose([f"sizes.custom={custom}"])
    with pytest.raises(ConfigError, match="size"):
        referee_arguments(config, operations.load("softmax"))


@pytest.mark.parametrize(("operation", "pair"), [("softmax", False), ("matmul", True)])
def test_what_a_size_takes_is_said_once(operation, pair):
    """A pair of the ladder is named where the axes are others."""
    with pytest.raises(ConfigError) as raised:
        operations.load(operation).spec.size((1, 2, 3, 4))
    assert ("or a pair rows, cols" in str(raised.value)) is pair


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=abc", ["seed", "abc", "Integer"]),
        ("timing.rounds=many", ["timing.rounds", "many", "Integer"]),
        ("timing.clock=sundial", ["sundial", "GRAPH", "EVENTS", "HOST"]),
        ("model.max_token=5", ["max_token"]),
        ("model=gpt", ["gpt", *choices("model")]),
        ("operation=fft", ["fft", *choices("operation")]),
        ("prompt=magic", ["magic", *choices("prompt")]),
        ("sizes.custom=[[a,b]]", ["sizes.custom", "int", "[[1823,781]]"]),
        ("sizes.custom=[1,2]", ["sizes.custom=[1, 2]", "a list of sizes", "[[1823,781]]"]),
    ],
)
def test_bad_values_are_refused_with_what_was_allowed(override, said):
    """The message names the value and its type, or lists the choices; exit status 1."""
    result = subprocess.run(
        [sys.executable, "run.py", override], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    for word in said:
        assert word in result.stderr
    with pytest.raises(ConfigError):
        compose([override])


@pytest.mark.parametrize(
    "override",
    [
        "seed=-1",
        "contenders=[torch,torch]",
        "strategy.n=0",
        "prompt.components=[]",
        "tracking.folder=",
        "tracking.experiment=' '",
        "sizes.custom=[]",
        "sizes.custom=5",
        "sizes.custom=[[1,2],3]",
        "sizes.custom=[[1.5,2]]",
        "sizes.custom=[[true,2]]",
        "sizes.custom=[[64,64],[64,64]]",
        "timing.rounds=1",
        "timing.max_rounds=19",
        "timing.window_us=-5",
        "timing.window_us=nan",
        "timing.host_calls=0",
        "timing.cold_factor=-1",
        "timing.margin=0",
        "timing.margin=2",
        "timing.max_clock_disagreement=-1",
        "timing.max_fraction_of_ceiling=0",
        "timing.max_fraction_of_ceiling=inf",
        "model.parallel=0",
        "model.max_tokens=0",
        "model.timeout_s=-1",
        "model.timeout_s=0.001",
        "model.timeout_s=1e300",
        "model.input_usd_per_mtok=-1",
    ],
)
def test_values_beyond_what_is_allowed_are_refused(override):
    """One sentence names the key, the value and what is allowed."""
    key = override.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}=.* is not allowed; give .*\.$"):
        compose([override])


def test_the_host_clock_needs_no_window():
    """It times so many calls, however long they take; other clocks time for so long."""
    assert compose(["timing=host_clock"]).timing.window_us == 0
    with pytest.raises(ConfigError, match=r"timing\.window_us"):
        compose(["timing.window_us=0"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+modle=opus", r"no key modle \(did you mean model, without a plus\?\); there are"),
        ("+foo=1", r"no key foo; there are operation, model, .*sandbox\."),
        ("+model.smaple=2", r"no key model\.smaple \(did you mean model\.sample"),
    ],
)
def test_keys_that_there_are_not_are_refused(override, said):
    """Hydra adds what begins with a plus; here it would be told nothing of."""
    with pytest.raises(ConfigError, match=said):
        compose([override])


def test_help_lists_every_choice():
    """`python run.py --help` names each choice of each group."""
    result = subprocess.run(
        [sys.executable, "run.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for group in {group for group, _ in CHOICES}:
        assert f"{group}: {', '.join(choices(group))}" in result.stdout
    assert "python run.py -m model=sonnet,opus" in result.stdout


def test_the_study_is_replicated_against_the_tutorial_by_both_protocols():
    """experiment=study_replication is the study's question, whatever the defaults become."""
    made = choices_of(compose(["experiment=study_replication"]))
    assert (made.operation, made.model, made.prompt) == ("softmax", "recorded", "baseline_only")
    assert (made.sizes, made.expert) == ("study", "tutorial")
    body = yaml.safe_load((CONF_DIR / "experiment" / "study_replication.yaml").read_text())
    assert body["hydra"]["sweeper"]["params"] == {"timing": "device,host_clock"}
