"""What tells the groups of a sweep apart beside operation, model and prompt."""

import builders as build
import pytest

from tritonexp import report
from tritonexp.report import groups, matching, settings


def job(seed=0, config=None, **choices):
    """A correct job with some of a configuration's keys."""
    return build.record(
        build.gpu_evaluation(),
        seed=seed,
        study_id=f"study-{seed}-{config}-{choices}",
        config=config or {"seed": seed},
        **choices,
    )


def told(*records):
    """The settings of a sweep's groups, with how many jobs each has."""
    return {item.setting: len(item.jobs) for item in groups.group(records)}


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        ("model.effort", ("low", "high"), ("low", "high")),
        ("model.max_tokens", (1000, 2000), ("1000", "2000")),
        ("model.path", ("a.py", "b/a.py"), ("a.py", "b/a.py")),
        ("model.base_url", (None, "http://x"), ("null", "http://x")),
        ("strategy.n", (2, 3), ("2", "3")),
        ("timing.rounds", (20, 40), ("20", "40")),
        ("expert.path", (None, "t.py"), ("null", "t.py")),
        ("sizes.custom", ([[128, 128]], [[256, 256]]), ("[[128,128]]", "[[256,256]]")),
        ("prompt.components", (["task"], ["task", "hints"]), ("[task]", "[task,hints]")),
        ("contenders", (["torch"], []), ("[torch]", "[]")),
        ("sandbox", (True, False), ("true", "false")),
    ],
)
def test_keys_that_differ_split_groups(key, values, expected):
    """Whatever was set differently is no repeat, and each group tells its own."""
    group, _, name = key.partition(".")
    configs = [{group: {name: value} if name else value} for value in values]
    found = told(*(job(seed, config) for config in configs for seed in (0, 1)))
    assert found == {f"{key}={value}": 2 for value in expected}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"seed": 0}, {"seed": 1}),
        ({"model": {"name": "recorded", "sample": 1}}, {"model": {"sample": 2}}),
        ({"tracking": {"folder": "a"}}, {"tracking": {"folder": "b"}}),
    ],
    ids=["seed", "sample", "tracking"],
)
def test_repeats_stay_together(first, second):
    """Another seed, sample or store is the same setting."""
    assert told(job(0, first), job(1, second)) == {"": 2}


def test_what_follows_from_a_name_is_told_by_the_name():
    """Other sizes have other ladders and other models other ids, which nobody chose."""
    small = {"sizes": {"name": "smoke", "ladder": [[512, 512]]}}
    study = {"sizes": {"name": "study", "ladder": [[1024, 1024]]}}
    assert told(job(0, small, sizes="smoke"), job(0, study)) == {
        "sizes=smoke": 1,
        "sizes=study": 1,
    }
    models = [
        job(0, {"model": {"id": f"{model}-5", "effort": effort}}, model=model)
        for model, effort in (("sonnet", "high"), ("old", None))
    ]
    assert told(*models) == {"": 1}
    assert len(groups.group(models)) == 2


def test_keys_are_told_of_the_choice_that_they_vary_in():
    """Of two models one was asked with two efforts; the other's group has nothing to tell."""
    found = groups.group(
        [
            job(0, {"model": {"effort": effort}}, model=model)
            for model, effort in (("sonnet", "low"), ("sonnet", "high"), ("old", None))
        ]
    )
    assert [(item.model, item.setting) for item in found] == [
        ("old", ""),
        ("sonnet", "model.effort=high"),
        ("sonnet", "model.effort=low"),
    ]


def test_sizes_of_ones_own_take_the_ladders_place():
    """Beside a named ladder they are custom, and two of them are told by their extents."""
    study = job(0, {"sizes": {"ladder": [[1024, 1024]], "custom": None}})
    mine = [
        job(0, {"sizes": {"ladder": ladder, "custom": custom}}, sizes="custom")
        for ladder, custom in (([[1, 1]], [[7, 7]]), ([[2, 2]], [[7, 7]]), ([[1, 1]], [[9, 9]]))
    ]
    assert told(study, mine[0], mine[1]) == {"sizes=study": 1, "sizes=custom": 2}
    assert told(study, *mine) == {
        "sizes=study": 1,
        "sizes.custom=[[7,7]]": 2,
        "sizes.custom=[[9,9]]": 1,
    }


def test_metric_names_of_settings_are_valid_short_and_different(tmp_path):
    """Paths that differ in a sign that a name cannot hold, or far behind, keep figures apart."""
    long = "/home/" + "folder/" * 40
    paths = ("a b.py", "a/b.py", f"{long}1.py", f"{long}2.py")
    jobs = [job(0, {"model": {"path": path}}) for path in paths]
    figures = report.write_comparison(jobs, "sweep-1", tmp_path)
    scores = [name for name in figures if name.endswith("/score")]
    assert len(scores) == len(paths)
    assert all(len(name) < 250 for name in figures)
    assert all(not set(name) & set("[]=,$* ") for name in figures)


def test_slug_of_a_plain_setting_can_be_read():
    """Nothing is added where nothing needs it."""
    assert settings.slugs(["timing=host_clock model.effort=low"]) == {
        "timing=host_clock model.effort=low": "timing_host_clock_model.effort_low"
    }


def test_kernels_at_other_sizes_are_not_one_kernel_timed_twice():
    """Two lists of sizes by two protocols are two comparisons, each told by its sizes."""
    jobs = [
        job(0, {"sizes": {"custom": [[edge, edge]]}}, timing=timing, sizes="custom")
        for edge in (7, 9)
        for timing in ("device", "host_clock")
    ]
    found = matching.matches(jobs)
    assert [match.name.partition(" ")[2] for match in found] == [
        "sizes.custom=[[7,7]]",
        "sizes.custom=[[9,9]]",
    ]
    assert all(not match.repeated for match in found)


def test_protocols_that_were_changed_are_different_protocols():
    """A run of more rounds is no repeat of one with fewer."""
    jobs = [
        job(0, {"timing": {"rounds": rounds}}, timing=timing)
        for timing, rounds in (("device", 20), ("device", 40), ("host_clock", 20))
    ]
    (match,) = matching.matches(jobs)
    assert {run.protocol for run in match.runs} == {
        "device timing.rounds=20",
        "device timing.rounds=40",
        "host_clock",
    }
