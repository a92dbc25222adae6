"""Jobs of a sweep: one referee for those of a kind, and models that are asked ahead.

The referee is a stand-in and the models are scripted; tests/test_run.py has a whole sweep.
"""

import threading

import builders as build
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import open_dict
from stand_ins import StandInReferee

from tests.strategies.scripted import ScriptedProvider
from tritonexp import answers, callbacks, jobs, study
from tritonexp.config import CONF_DIR, compose, register
from tritonexp.errors import ConfigError, GenerationError, LeaseError, MissingKeyError, PromptError
from tritonexp.records import Status
from tritonexp.sweep import HORIZON, Sweep


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    StandInReferee.forget()
    # a judge that has what a prompt may say of a GPU
    monkeypatch.setattr(StandInReferee, "facts", lambda _: build.H200_FACTS)
    # reports and MLflow are not what is looked at here, and take long
    monkeypatch.setattr(jobs, "fill", lambda folder: folder)
    monkeypatch.setattr(study, "open_store", lambda _: None)
    monkeypatch.setattr(study, "_logged", lambda record, *_: record)


@pytest.fixture
def configured(tmp_path):
    """Compose a job whose record is kept below tmp_path."""

    def make(*overrides):
        return compose(["sizes=smoke", f"tracking.folder={tmp_path / 'mlruns'}", *overrides])

    return make


class Models:
    """Providers by model; each gives what was scripted for it, and remembers when it was asked."""

    def __init__(self, monkeypatch, parallel=4):
        self.scripts = {}
        self.asked = []  # (operation, model, prompt)
        self.parallel = parallel
        monkeypatch.setattr(study, "provider_for", self.provider_for)

    def provider_for(self, model, operation):
        """Make the provider of one job."""
        models = self

        class Asked(ScriptedProvider):
            def check(self):
                fault = models.scripts.get(model.name)
                if isinstance(fault, Exception):
                    raise fault

            def complete(self, prompt):
                models.asked.append((operation, model.name, prompt.name))
                found = models.scripts.get(model.name)
                return found(operation, prompt) if found else kernel(operation, model.name, prompt)

        return Asked([], name=model.name, parallel=self.parallel)


def kernel(operation, *about):
    """Make an answer with a kernel of its own."""
    told = " ".join(str(getattr(item, "name", item)) for item in about)
    return build.completion(f"```python\ndef {operation}(*x):\n    return x  # {told}\n```\n")


@pytest.fixture
def models(monkeypatch):
    """Script the models."""
    return Models(monkeypatch)


def settle():
    """Wait until every question that was begun has its answer."""
    for thread in threading.enumerate():
        if thread.name.partition("-")[0] in {"sonnet", "opus", "haiku", "recorded"}:
            thread.join(20)


class Settled(StandInReferee):
    """Judges once all that was asked has been answered."""

    def evaluate(self, candidate, upcoming=None):
        """Wait, so that what is upcoming does not depend on who is quicker."""
        settle()
        return super().evaluate(candidate, upcoming)


def run(config, ahead, progress=lambda _: None, open_referee=Settled):
    """Run a job of a sweep, in silence."""
    return study.run_study(
        config,
        progress,
        ahead=ahead,
        note=lambda _: None,
        open_referee=open_referee,
    )


def test_one_referee_serves_the_jobs_of_a_kind(configured, models):
    """Models and prompts share it, another operation has its own, and each is closed once."""
    configs = [
        configured("model=sonnet", "prompt=baseline_only"),
        configured("model=opus", "prompt=with_hints"),
        configured("model=opus", "operation=layer_norm"),
        configured("model=sonnet"),
    ]
    with Sweep(configs) as ahead:
        for config in configs:
            run(config, ahead)
            # the one before is closed before another is opened: both would not fit a GPU
            assert len(StandInReferee.opened) - len(StandInReferee.closed) == 1
    names = [given["operation"].name for given in StandInReferee.opened]
    assert names == ["softmax", "layer_norm", "softmax"]
    assert StandInReferee.closed == StandInReferee.opened
    assert len(StandInReferee.judged) == 4


@pytest.mark.parametrize(
    "other",
    ["seed=1", "sizes=study", "timing=host_clock", "expert=none", "contenders=[]", "profile=ncu"],
)
def test_whatever_a_referee_is_opened_with_makes_it_another(other, configured, models):
    """A job that differs in it does not get the referee that is open."""
    with Sweep() as ahead:
        for overrides in ([], [other]):
            run(configured("model=sonnet", *overrides), ahead)
    assert len(StandInReferee.opened) == 2


def test_a_study_alone_closes_its_referee(configured, models):
    """Without a sweep nothing is left open."""
    run(configured("model=sonnet"), None)
    assert len(StandInReferee.closed) == 1


def test_a_referee_whose_job_failed_is_not_used_again(configured, models):
    """The next job of the kind gets a new one."""

    class Broken(Settled):
        def evaluate(self, candidate, upcoming=None):
            raise LeaseError("the GPU is gone")

    with Sweep() as ahead:
        with pytest.raises(LeaseError):
            run(configured("model=sonnet"), ahead, open_referee=Broken)
        assert len(StandInReferee.closed) == 1
        run(configured("model=opus"), ahead)
    assert len(StandInReferee.opened) == 2


def test_a_job_that_never_came_to_the_referee_leaves_it_open(configured, models):
    """A missing key says nothing against what another job opened."""
    models.scripts["opus"] = MissingKeyError("no key")
    with Sweep() as ahead:
        run(configured("model=sonnet"), ahead)
        with pytest.raises(MissingKeyError):
            run(configured("model=opus"), ahead)
        run(configured("model=haiku"), ahead)
    assert len(StandInReferee.opened) == 1


def test_a_referee_speaks_to_the_job_that_it_works_for(configured, models):
    """It was opened by the first job, and the second one's terminal shows what it does."""

    class Talking(Settled):
        def evaluate(self, candidate, upcoming=None):
            self.arguments["progress"]("verifying")
            return super().evaluate(candidate, upcoming)

    told = {"sonnet": [], "opus": []}
    with Sweep() as ahead:
        for model, said in told.items():
            run(configured(f"model={model}"), ahead, said.append, Talking)
    assert "opening the referee" in told["sonnet"]
    assert "opening the referee" not in told["opus"]
    assert [said.count("verifying") for said in told.values()] == [1, 1]


def test_later_jobs_are_asked_while_the_first_waits(configured, models):
    """Four questions are open before any is answered, and each job gets its own answer."""
    together = threading.Barrier(4, timeout=20)

    def slow(operation, prompt):
        together.wait()
        return kernel(operation, prompt)

    models.scripts = {"sonnet": slow, "opus": slow}
    configs = [
        configured(f"model={model}", f"prompt={prompt}")
        for model in ("sonnet", "opus")
        for prompt in ("baseline_only", "with_hints")
    ]
    with Sweep(configs) as ahead:
        records = [run(config, ahead) for config in configs]
    assert [record.choices.model for record in records] == ["sonnet", "sonnet", "opus", "opus"]
    for record in records:
        assert record.attempt.prompt.name == record.choices.prompt
        assert f"# {record.choices.prompt}\n" in record.attempt.source
    assert len(models.asked) == 4


def test_no_more_than_parallel_answers_wait_to_be_judged(configured, models):
    """Of ten jobs two are asked ahead while one is judged, and the others as jobs are done."""
    configs = [configured("model=sonnet", "model.parallel=2", f"seed={n}") for n in range(10)]
    asked = []

    class Counting(Settled):
        def evaluate(self, candidate, upcoming=None):
            found = super().evaluate(candidate, upcoming)
            asked.append(len(models.asked))
            return found

    with Sweep(configs) as ahead:
        for config in configs:
            run(config, ahead, open_referee=Counting)
    assert asked == [3, 4, 5, 6, 7, 8, 9, 10, 10, 10]


def test_the_answers_of_a_job_count_until_they_are_judged(configured, models):
    """While answers of this job wait, the next is not asked; it is as soon as one is too few."""
    several = ("model=sonnet", "strategy=best_of_n", "strategy.n=3", "model.parallel=2")
    configs = [configured(*several), configured(*several, "seed=1")]
    asked = []

    class Counting(Settled):
        def evaluate(self, candidate, upcoming=None):
            found = super().evaluate(candidate, upcoming)
            asked.append(len(models.asked))
            return found

    with Sweep(configs) as ahead:
        for config in configs:
            run(config, ahead, open_referee=Counting)
    assert asked == [3, 6, 6, 6, 6, 6]


def test_answers_without_code_do_not_wait_to_be_judged(configured, models):
    """Of three answers one is judged: with it the job is over, and the next one is asked."""
    texts = iter([kernel("softmax"), *[build.completion("I would rather not.")] * 2])
    models.scripts["sonnet"] = lambda *_: next(texts)
    several = ("model=sonnet", "strategy=best_of_n", "strategy.n=3", "model.parallel=1")
    configs = [configured(*several), configured("model=sonnet", "seed=1", "model.parallel=1")]
    models.parallel = 1

    class Counting(Settled):
        def evaluate(self, candidate, upcoming=None):
            assert len(models.asked) == 4
            return super().evaluate(candidate, upcoming)

    with Sweep(configs) as ahead:
        run(configs[0], ahead, open_referee=Counting)
    assert len(StandInReferee.judged) == 1


def test_another_operation_is_asked_for_its_own_kernel(configured, models):
    """What is asked ahead at the referee of softmax is the prompt of layer_norm."""
    configs = [configured("model=sonnet"), configured("model=sonnet", "operation=layer_norm")]
    with Sweep(configs) as ahead:
        records = [run(config, ahead) for config in configs]
    for record in records:
        assert f"def {record.choices.operation}(" in record.attempt.prompt.text
        assert record.brief.name == record.choices.operation


def test_a_size_that_cannot_be_is_not_paid_for(configured, models):
    """The job ends at its own turn, and its model was not asked ahead."""
    configs = [configured("model=sonnet"), configured("model=opus", "sizes.custom=[[1,65537]]")]
    with Sweep(configs) as ahead:
        run(configs[0], ahead)
        with pytest.raises(ConfigError, match="65537"):
            run(configs[1], ahead)
    assert [model for _, model, _ in models.asked] == ["sonnet"]


def test_an_error_ahead_is_told_at_its_own_job(configured, models):
    """A missing key and a refused one each end their own job, and no other."""
    models.scripts["opus"] = MissingKeyError("no key")

    def refuse(operation, prompt):
        raise GenerationError("the key is refused")

    models.scripts["haiku"] = refuse
    configs = {model: configured(f"model={model}") for model in ("sonnet", "opus", "haiku")}
    with Sweep(configs.values()) as ahead:
        assert run(configs["sonnet"], ahead).status is Status.INCORRECT
        with pytest.raises(MissingKeyError, match="no key"):
            run(configs["opus"], ahead)
        with pytest.raises(GenerationError, match="the key is refused"):
            run(configs["haiku"], ahead)
    # the refused one was asked once, ahead, and not again
    assert sorted(model for _, model, _ in models.asked) == ["haiku", "sonnet"]


def test_a_prompt_that_cannot_be_rendered_is_told_at_its_own_job(configured, models, monkeypatch):
    """Without a GPU with_hints cannot be had; the job before it and the one after it can."""
    monkeypatch.setattr(StandInReferee, "facts", lambda _: build.FACTS)
    prompts = ("baseline_only", "with_hints", "baseline_only")
    configs = [
        configured("model=sonnet", f"prompt={prompt}", f"seed={n}")
        for n, prompt in enumerate(prompts)
    ]
    with Sweep(configs) as ahead:
        run(configs[0], ahead)
        with pytest.raises(PromptError, match="with_hints"):
            run(configs[1], ahead)
        run(configs[2], ahead)
    assert len(models.asked) == 2


def test_what_was_never_begun_of_a_failing_job_is_not_asked(configured, models, monkeypatch):
    """Its first answer fails while another job is judged; the other nine are not paid for."""

    def refuse(operation, prompt):
        raise GenerationError("the key is refused")

    models.parallel = 1
    models.scripts["opus"] = refuse
    configs = [
        configured("model=sonnet"),
        configured("model=opus", "strategy=best_of_n", "strategy.n=10"),
    ]
    with Sweep(configs) as ahead:
        run(configs[0], ahead)
        with pytest.raises(GenerationError):
            run(configs[1], ahead)
    assert len(models.asked) == 2


def test_a_wrong_n_is_told_before_anything_is_asked_or_opened(configured, models):
    """The strategy refuses it when the job begins, and it is not asked ahead."""
    configs = [configured("model=sonnet"), configured("model=sonnet", "strategy.n=5")]
    with Sweep(configs) as ahead:
        run(configs[0], ahead)
        with pytest.raises(ConfigError, match=r"strategy\.n=5"):
            run(configs[1], ahead)
    assert len(models.asked) == 1
    with pytest.raises(ConfigError, match=r"strategy\.n=5"):
        run(configs[1], None)
    assert len(StandInReferee.opened) == 1


def test_facts_are_measured_once_for_all_that_need_them(configured, models, monkeypatch):
    """The jobs ahead and those that follow share what the open referee was asked for once."""
    measured = []

    def facts(self):
        measured.append(self)
        return build.H200_FACTS

    monkeypatch.setattr(StandInReferee, "facts", facts)
    configs = [configured(f"model={model}") for model in ("sonnet", "opus", "haiku")]
    with Sweep(configs) as ahead:
        for config in configs:
            run(config, ahead)
    assert len(measured) == 1


def test_facts_that_cannot_be_had_end_the_looking_ahead(configured, models, monkeypatch):
    """Each of the jobs ahead would wait for the GPU as long as the first did."""
    tried = []

    def facts(self):
        tried.append(self)
        raise LeaseError("another process holds the GPU")

    monkeypatch.setattr(StandInReferee, "facts", facts)
    scripted = models.provider_for

    def provider_for(model, operation):
        provider = scripted(model, operation)
        if model.name == "recorded":
            provider.facts = lambda _: build.H200_FACTS
        return provider

    monkeypatch.setattr(study, "provider_for", provider_for)
    configs = [
        configured("model=recorded"),
        *(configured("model=opus", f"seed={n}") for n in "123"),
    ]

    class Once(Settled):
        def evaluate(self, candidate, upcoming=None):
            # once when the question was asked, and once when its answer came
            assert len(tried) == 2
            return super().evaluate(candidate, upcoming)

    with Sweep(configs) as ahead:
        run(configs[0], ahead, open_referee=Once)
    assert len(StandInReferee.judged) == 1


def test_jobs_in_another_order_find_their_answers(configured, models):
    """What was asked for a job is found by its configuration; an unknown one is asked anew."""
    configs = [configured("model=sonnet", f"seed={n}") for n in range(3)]
    stranger = configured("model=haiku")
    with Sweep(configs) as ahead:
        for config in (configs[0], configs[2], stranger, configs[1]):
            assert run(config, ahead).choices.seed == config.seed
    assert len(models.asked) == 4


def test_the_next_candidate_is_named(configured, models):
    """What is said of the next is what is judged next, also when that is another job's."""
    configs = [
        configured("model=sonnet", "strategy=best_of_n", "strategy.n=2"),
        configured("model=opus"),
        configured("model=haiku", "operation=layer_norm"),
    ]

    def several(operation, prompt):
        return kernel(operation, len(models.asked))

    models.scripts["sonnet"] = several
    with Sweep(configs) as ahead:
        for config in configs:
            run(config, ahead)
    candidates = [candidate for candidate, _ in StandInReferee.judged]
    assert len({candidate.source for candidate in candidates}) == 4
    assert [told for _, told in StandInReferee.judged] == [
        (candidates[1],),
        (candidates[2],),
        # another operation's is not this referee's, and after the last nothing comes
        None,
        None,
    ]


def test_an_answer_without_code_names_nothing(configured, models):
    """The next job has none that could be judged, so it is not known what comes."""
    models.scripts["opus"] = lambda *_: build.completion("I would rather not.")
    configs = [configured("model=sonnet"), configured("model=opus")]
    with Sweep(configs) as ahead:
        statuses = [run(config, ahead).status for config in configs]
    assert statuses == [Status.INCORRECT, Status.NO_CODE]
    assert [told for _, told in StandInReferee.judged] == [(None,)]


def test_an_answer_that_has_not_come_names_nothing_and_is_not_waited_for(configured, models):
    """The referee is told that it is not known yet."""
    judged = threading.Event()

    def slow(operation, prompt):
        assert judged.wait(20)
        return kernel(operation, prompt)

    class Marking(StandInReferee):
        def evaluate(self, candidate, upcoming=None):
            found = super().evaluate(candidate, upcoming)
            judged.set()
            return found

    models.scripts["opus"] = slow
    configs = [configured("model=sonnet"), configured("model=opus")]
    with Sweep(configs) as ahead:
        for config in configs:
            run(config, ahead, open_referee=Marking)
    assert [told for _, told in StandInReferee.judged] == [(None,), None]


def test_answers_asked_ahead_wait_when_the_sweep_is_interrupted(configured, models, tmp_path):
    """Two came while the first was judged: all three are on disk, and none was lost."""

    class Interrupted(Settled):
        def evaluate(self, candidate, upcoming=None):
            settle()
            raise KeyboardInterrupt

    configs = [configured(f"model={model}") for model in ("sonnet", "opus", "haiku")]
    with Sweep(configs) as ahead, pytest.raises(KeyboardInterrupt):
        run(configs[0], ahead, open_referee=Interrupted)
    waiting = [answers.read(folder).job for folder in answers.waiting(tmp_path / "mlruns")]
    assert sorted(waiting) == [
        f"softmax/{model}/baseline_only" for model in ("haiku", "opus", "sonnet")
    ]


def test_answers_of_jobs_that_are_done_wait_no_more(configured, models, tmp_path):
    """Those of the jobs ahead do, until they have their turn."""
    configs = [configured(f"model={model}") for model in ("sonnet", "opus")]
    left = []
    with Sweep(configs) as ahead:
        for config in configs:
            run(config, ahead)
            left.append(len(answers.waiting(tmp_path / "mlruns")))
    assert left == [1, 0]


def test_a_sweep_is_read_no_further_than_it_is_looked_ahead(configured, models):
    """Hundreds of jobs are not composed before the first is judged."""
    read = []

    def coming():
        for n in range(500):
            read.append(n)
            yield configured("model=sonnet", f"seed={n}")

    with Sweep(coming()) as ahead:
        run(configured("model=sonnet", "seed=0"), ahead)
        assert len(read) == HORIZON + 1


@pytest.fixture
def multirun(tmp_path):
    """Compose a sweep as Hydra's main does, and list its jobs as its launcher runs them."""
    register()

    def make(*overrides):
        loader = GlobalHydra.instance().config_loader()
        overrides = [*overrides, f"tracking.folder={tmp_path}"]
        return loader.load_configuration("config", overrides, RunMode.MULTIRUN)

    with initialize_config_dir(config_dir=str(CONF_DIR), version_base="1.3"):
        yield make


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["model=sonnet,opus", "prompt=baseline_only,with_hints"],
            [
                ["model=sonnet", "prompt=baseline_only"],
                ["model=sonnet", "prompt=with_hints"],
                ["model=opus", "prompt=baseline_only"],
                ["model=opus", "prompt=with_hints"],
            ],
        ),
        (["operation=glob(*)"], [[f"operation={n}"] for n in ("layer_norm", "matmul", "softmax")]),
        (["model.sample=range(1,4)"], [[f"model.sample={n}"] for n in (1, 2, 3)]),
        (["seed=choice(3,5)", "sizes=smoke"], [[f"seed={n}", "sizes=smoke"] for n in (3, 5)]),
        (
            ["experiment=prompt_ablation", "model=sonnet"],
            [
                ["experiment=prompt_ablation", "model=sonnet", f"prompt={name}"]
                for name in ("baseline_only", "hardware_aware", "with_hints")
            ],
        ),
    ],
)
def test_the_jobs_are_those_that_the_launcher_will_run(overrides, expected, multirun, tmp_path):
    """In its order, with what is swept on the command line and in an experiment's file."""
    found = list(callbacks.coming(multirun(*overrides)))
    GlobalHydra.instance().clear()
    assert found == [compose([*job, f"tracking.folder={tmp_path}"]) for job in expected]


@pytest.mark.parametrize("fault", ["sweeper", "interval", "composing"])
def test_a_sweep_that_cannot_be_foreseen_has_no_jobs(fault, multirun):
    """Another sweeper, a sweep that Hydra's refuses, a choice that is none: no failure here."""
    sought = {"interval": "seed=interval(0,1)", "composing": "model=nobody,sonnet"}
    config = multirun(sought.get(fault, "model=sonnet,opus"))
    if fault == "sweeper":
        with open_dict(config):
            config.hydra.sweeper._target_ = "another.Sweeper"
    assert list(callbacks.coming(config)) == []


@pytest.mark.parametrize("launcher", [callbacks.LAUNCHER, "another.Launcher"])
def test_jobs_share_nothing_where_another_launcher_runs_them(
    launcher, multirun, monkeypatch, tmp_path
):
    """Its jobs are in other processes, or at the same time: each opens a referee of its own."""
    monkeypatch.setenv(callbacks.SWEEP_VARIABLE, "unnamed")
    config = multirun("model=sonnet,opus")
    with open_dict(config):
        config.hydra.launcher._target_ = launcher
    callbacks.SweepCallback().on_multirun_start(config)
    ahead = callbacks.ahead()
    assert (ahead is not None) is (launcher == callbacks.LAUNCHER)
    monkeypatch.setattr(study, "compare_sweep", lambda *_: "compared")
    with open_dict(config):
        config.hydra.sweep.dir = str(tmp_path)
    callbacks.SweepCallback().on_multirun_end(config)
    assert callbacks.ahead() is None


@pytest.fixture
def ended(multirun, monkeypatch, tmp_path):
    """Make the end of a sweep whose folder has one failed job."""
    monkeypatch.setenv(callbacks.SWEEP_VARIABLE, "the-sweep")
    config = multirun("model=sonnet,opus")
    with open_dict(config):
        config.hydra.sweep.dir = str(tmp_path)
    jobs.note_failure(tmp_path, "model=opus", "no\nkey")

    def end(compare):
        monkeypatch.setattr(study, "compare_sweep", compare)
        with pytest.raises(SystemExit) as raised:
            callbacks.SweepCallback().on_multirun_end(config)
        return raised.value.code

    return end


def test_jobs_that_could_not_be_done_are_part_of_the_comparison(ended, tmp_path):
    """What was noted of them is handed on, each on a line of its own."""
    given = []

    def compare(*arguments):
        given.append(arguments)
        return "compared"

    assert ended(compare) == 1
    assert given == [(None, "the-sweep", tmp_path, ["model=opus: no key"])]


def test_a_fault_that_nobody_thought_of_ends_the_sweep_with_one(ended, capsys, tmp_path):
    """Hydra would swallow it; the traceback, a sentence and the failed jobs are printed."""

    def compare(*_):
        raise ZeroDivisionError("a fault of ours")

    assert ended(compare) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "error: no comparison: ZeroDivisionError: a fault of ours." in err
    assert f"python -m tritonexp report --sweep the-sweep --folder {tmp_path}" in err
    assert "1 failed:\n  model=opus: no key" in err


def test_a_fault_before_a_sweep_ends_it(multirun, monkeypatch, capsys):
    """No job runs without the sweep's name."""

    def fail(_):
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(study, "open_store", fail)
    with pytest.raises(SystemExit, match="the sweep cannot begin: ZeroDivisionError"):
        callbacks.SweepCallback().on_multirun_start(multirun("model=sonnet,opus"))
    assert "Traceback" in capsys.readouterr().err
