"""The red team: its headers and its accounting, and each of its fixtures before the referee."""

import dataclasses
import json
import os
import re
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import builders as build
import pytest
import torch

from tritonexp import cli, operations
from tritonexp.config import compose
from tritonexp.errors import ConfigError
from tritonexp.evaluation import offline
from tritonexp.records import Mode, Status, TimingProtocol
from tritonexp.redteam import bench, document, fixtures
from tritonexp.redteam.findings import Findings, Rate, Verdict

ROOT = Path(__file__).resolve().parent.parent
CHEAT = '''\
"""Writes zeros. And
nothing else.

operation: softmax
status: INCORRECT or STALE_RESULT
interpreter: INCORRECT
"""
'''
HONEST = '''\
"""Odd, but right.

operation: softmax
status: CORRECT
interpreter: CORRECT
"""
'''
# what a made-up referee finds of a file, by a line of it
FOUND = re.compile(r"^# found: (\w+)$", re.MULTILINE)


class MadeUpReferee:
    """Finds what a file says, raises for a file that says so, and knows how often it was opened."""

    opened = 0
    judged: list[str] = []  # noqa: RUF012 - a fresh list for each test, see `made_up`
    foretold: list[str | None] = []  # noqa: RUF012 - the same
    right_kernel = Status.CORRECT

    def __init__(self, **arguments):
        type(self).opened += 1
        self.arguments = arguments

    def wait_ready(self):
        """Be ready."""

    def close(self):
        """Fail, as a referee that broke may."""
        raise OSError

    def evaluate(self, candidate, upcoming=None):
        """Give the status that the file names; a file that names none is the right kernel."""
        self.judged.append(candidate.provenance.name)
        self.foretold.append(upcoming and upcoming().provenance.name)
        named = FOUND.search(candidate.source)
        if named and named[1] == "RAISES":
            raise ZeroDivisionError("no verdict")
        status = Status[named[1]] if named else self.right_kernel
        reason = f"because of {ROOT / 'kernels' / 'x.py'}"
        return SimpleNamespace(candidate=SimpleNamespace(status=status, reason=reason, log="a log"))


@pytest.fixture
def made_up(monkeypatch):
    """Have the red team open made-up referees."""
    monkeypatch.setattr(MadeUpReferee, "opened", 0)
    monkeypatch.setattr(MadeUpReferee, "judged", [])
    monkeypatch.setattr(MadeUpReferee, "foretold", [])
    monkeypatch.setattr(bench, "_referee", lambda: MadeUpReferee)
    monkeypatch.setattr(bench, "mode_here", lambda: Mode.INTERPRETER)
    monkeypatch.setattr(bench, "environment_here", lambda **_: build.environment(gpu=False))
    return MadeUpReferee


def write(folder, name, text=CHEAT, found=None):
    """Write a fixture, as in cheats/output/zeros, of which a made-up referee finds a status."""
    path = folder / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + (f"# found: {found}\n" if found else ""))
    return path


def judged(folder, mode=Mode.INTERPRETER):
    """The verdicts of a made-up referee on a folder, by the fixture's name."""
    verdicts = bench.judge(fixtures.read_folder(folder), mode)
    return {verdict.fixture.name: verdict for verdict in verdicts}


def findings(*verdicts):
    """What a run of these verdicts found."""
    return Findings(environment=build.environment(gpu=False), verdicts=verdicts)


def test_header_is_read(tmp_path):
    """Family, operation, both lists of statuses and the first sentence come from the file."""
    path = write(tmp_path, "cheats/output/zeros")
    fixture = fixtures.read(path, tmp_path)
    assert (fixture.name, fixture.family, fixture.operation) == (
        "output/zeros",
        "output",
        "softmax",
    )
    assert fixture.is_cheat
    assert fixture.named(Mode.GPU) == (Status.INCORRECT, Status.STALE_RESULT)
    assert fixture.named(Mode.INTERPRETER) == (Status.INCORRECT,)
    assert fixture.summary == "Writes zeros."
    assert fixture.text == "Writes zeros. And nothing else."
    candidate = fixture.candidate()
    assert (candidate.source, candidate.entry_point) == (CHEAT, "softmax")


def test_honest_kernel_that_needs_a_gpu(tmp_path):
    """Without a line for the interpreter a fixture is left out there."""
    path = write(tmp_path, "honest/odd", HONEST.replace("interpreter: CORRECT\n", ""))
    fixture = fixtures.read(path, tmp_path)
    assert not fixture.is_cheat
    assert fixture.named(Mode.INTERPRETER) == ()
    with pytest.raises(ConfigError, match="without a GPU"):
        fixtures.applying([fixture], Mode.INTERPRETER)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("cheats/output/a", "def softmax(x:\n", "no Python file"),
        ("cheats/output/a", "import torch\n", "no docstring"),
        ("cheats/output/a", CHEAT.replace("operation: softmax\n", ""), "no line operation:"),
        ("cheats/output/a", re.sub("status: .*\n", "", CHEAT), "no line status:"),
        ("cheats/output/a", CHEAT.replace("softmax", "fft"), "operation 'fft'.*softmax"),
        ("cheats/output/a", CHEAT.replace("INCORRECT or", "WRONG or"), "status 'WRONG'.*TIMEOUT"),
        ("cheats/output/a", CHEAT.replace(" or ", ", "), "status 'INCORRECT, STALE_RESULT'"),
        ("cheats/output/a", CHEAT.replace("STALE_RESULT", "CORRECT"), "never to be CORRECT"),
        ("cheats/output/a", CHEAT.replace("interpreter", "cpu"), "line 'cpu: INCORRECT'"),
        ("cheats/output/a", CHEAT.replace("interpreter", "status"), "status: twice"),
        ("cheats/output/a", CHEAT.replace("else.\n\n", "else.\n"), "line 'Writes zeros. And'"),
        ("cheats/output/a", CHEAT.replace("Writes zeros. And\nnothing else.", ""), "what it does"),
        ("honest/a", HONEST.replace("status: CORRECT", "status: TIMEOUT"), "honest.*is CORRECT"),
        ("honest/a", HONEST.replace("preter: CORRECT", "preter: TIMEOUT"), "honest.*is CORRECT"),
        ("cheats/a", CHEAT, "lies neither in"),
        ("cheats/honest/a", CHEAT, "lies neither in"),
        ("honest/more/a", HONEST, "lies neither in"),
        ("a", CHEAT, "lies neither in"),
    ],
)
def test_bad_header_is_one_error_that_names_the_file(name, text, told, tmp_path):
    """Each fault says what is wrong, where, and what was expected; good files beside it do not."""
    write(tmp_path, "cheats/output/good")
    path = write(tmp_path, name, text)
    with pytest.raises(ConfigError, match=told) as error:
        fixtures.read_folder(tmp_path)
    (line,) = str(error.value).splitlines()
    assert str(path) in line


def test_all_bad_headers_are_told_at_once(tmp_path):
    """A folder with two faults is not corrected in two runs."""
    write(tmp_path, "cheats/output/one", "")
    write(tmp_path, "cheats/output/two", "")
    with pytest.raises(ConfigError) as error:
        fixtures.read_folder(tmp_path)
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("only", "names"),
    [
        (None, ["attack/sleeps", "output/sleeps", "output/zeros", "honest/odd"]),
        ("output/*", ["output/sleeps", "output/zeros"]),
        ("cheats/output/*.py", ["output/sleeps", "output/zeros"]),
        ("sleeps", ["attack/sleeps", "output/sleeps"]),
        ("honest/o*", ["honest/odd"]),
    ],
)
def test_only_chooses_by_a_glob(only, names, tmp_path):
    """The end of a path is matched, with its ending or without."""
    for name in ("cheats/attack/sleeps", "cheats/output/sleeps", "cheats/output/zeros"):
        write(tmp_path, name)
    write(tmp_path, "honest/odd", HONEST)
    assert [item.name for item in fixtures.read_folder(tmp_path, only)] == names


def test_nothing_chosen_names_the_families(tmp_path):
    """A glob without a match, like an empty folder, is an error that leads on."""
    with pytest.raises(ConfigError, match="families are: none"):
        fixtures.read_folder(tmp_path)
    write(tmp_path, "cheats/output/zeros")
    with pytest.raises(ConfigError, match=r"'clock/\*' matches.*output"):
        fixtures.read_folder(tmp_path, "clock/*")


def test_absent_folder_is_explained(tmp_path, monkeypatch):
    """The default folder is absent where the package was installed without the tests."""
    with pytest.raises(ConfigError, match="give a folder that holds"):
        fixtures.read_folder(tmp_path / "none")
    monkeypatch.setattr(fixtures, "FOLDER", tmp_path / "none")
    with pytest.raises(ConfigError, match="not installed with the package"):
        fixtures.read_folder(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "found", "problem"),
    [
        (CHEAT, "INCORRECT", ""),
        (CHEAT, "STALE_RESULT", "caught by another status than named"),
        (CHEAT, "CORRECT", "a cheat was believed"),
        (CHEAT, "RAISES", "the referee raised"),
        (HONEST, "CORRECT", ""),
        (HONEST, "TIMEOUT", "an honest kernel was refused"),
        (HONEST, "RAISES", "the referee raised"),
    ],
)
def test_verdict_is_held_to_the_header(text, found, problem, tmp_path, made_up):
    """In the interpreter only its own statuses are right, and a verdict is always needed."""
    write(tmp_path, "honest/one" if text == HONEST else "cheats/output/one", text, found)
    (verdict,) = judged(tmp_path).values()
    assert verdict.problem == problem
    assert verdict.status == (None if found == "RAISES" else Status[found])
    assert verdict.explanation.startswith(problem)
    assert ("ZeroDivisionError: no verdict" in verdict.explanation) == (found == "RAISES")
    assert ("Traceback" in verdict.log) == (found == "RAISES")


def test_referee_that_raised_is_opened_anew(tmp_path, made_up):
    """One that breaks, and cannot even be closed, ends neither the run nor the next verdict."""
    for name, found in (("a", "RAISES"), ("b", "INCORRECT"), ("c", "INCORRECT")):
        write(tmp_path, f"cheats/output/{name}", found=found)
    verdicts = judged(tmp_path)
    assert [item.problem for item in verdicts.values()] == ["the referee raised", "", ""]
    assert made_up.opened == 2


def test_referee_that_cannot_be_opened_anew_is_a_finding_too(tmp_path, made_up, monkeypatch):
    """What is left of the run is told as not judged, one fixture after the other."""
    write(tmp_path, "cheats/output/a", found="RAISES")
    write(tmp_path, "cheats/output/b", found="INCORRECT")

    def once(**arguments):
        if made_up.opened:
            raise OSError("no more processes")
        return MadeUpReferee(**arguments)

    monkeypatch.setattr(bench, "_referee", lambda: once)
    verdicts = judged(tmp_path)
    assert [item.status for item in verdicts.values()] == [None, None]
    assert "no more processes" in verdicts["output/b"].explanation


def test_right_kernel_is_judged_after_each_attack(tmp_path, made_up, monkeypatch):
    """An attack that is caught but leaves a referee that errs is a problem."""
    write(tmp_path, "cheats/attack/a", found="INCORRECT")
    write(tmp_path, "cheats/output/b", found="INCORRECT")
    assert not any(item.problem for item in judged(tmp_path).values())
    assert made_up.judged == ["a.py", "tritonexp", "b.py"]
    monkeypatch.setattr(made_up, "right_kernel", Status.TIMEOUT)
    attack, other = judged(tmp_path).values()
    assert attack.status is Status.INCORRECT
    assert "not CORRECT but TIMEOUT" in attack.problem
    assert other.problem == ""


def test_referee_is_told_what_comes_next(tmp_path, made_up):
    """The next one of the operation, the right kernel after an attack; nothing beside the alone."""
    text = CHEAT.replace("interpreter", "alone: memory\ninterpreter")
    write(tmp_path, "cheats/attack/a", found="INCORRECT")
    write(tmp_path, "cheats/attack/b", text, "INCORRECT")
    write(tmp_path, "cheats/output/c", found="INCORRECT")
    write(tmp_path, "cheats/output/d", text, "INCORRECT")
    write(tmp_path, "cheats/output/e", found="INCORRECT")
    write(tmp_path, "cheats/output/f", CHEAT.replace("softmax", "layer_norm"), "INCORRECT")
    assert not any(item.problem for item in judged(tmp_path).values())
    assert list(zip(made_up.judged, made_up.foretold, strict=True)) == [
        ("f.py", None),
        ("a.py", "tritonexp"),
        ("tritonexp", None),
        ("b.py", None),
        ("tritonexp", "c.py"),
        ("c.py", None),
        ("d.py", None),
        ("e.py", None),
    ]


def test_one_referee_serves_all_fixtures_of_an_operation(tmp_path, made_up):
    """Fixtures are judged operation by operation, whatever their families."""
    for number, operation in enumerate(("softmax", "matmul", "softmax", "matmul")):
        text = CHEAT.replace("softmax", operation)
        write(tmp_path, f"cheats/family_{number}/a", text, "INCORRECT")
    assert len(judged(tmp_path)) == 4
    assert made_up.opened == 2


def test_referee_is_opened_for_speed(tmp_path, made_up):
    """Two sizes of the study's ladder, mapped by the spec, and nobody but the baseline beside."""
    with bench.Bench(operations.load("matmul"), Mode.INTERPRETER, sandbox=False) as opened:
        arguments = opened._referee.arguments
    ladder = compose(["sizes=study"]).sizes.ladder
    assert [list(extents) for extents in bench.LADDER] == [list(one) for one in ladder[:2]]
    assert [size.label for size in arguments["sizes"]] == ["1024x1024x1024", "2048x2048x2048"]
    assert arguments["expert"] == "none"
    assert arguments["contenders"] == ()
    assert arguments["sandbox"] is False


def test_rates_count_what_must_not_happen(tmp_path, made_up):
    """A referee that raises has caught nothing and has refused an honest kernel."""
    for name, found in (
        ("a", "INCORRECT"),
        ("b", "STALE_RESULT"),
        ("c", "CORRECT"),
        ("d", "RAISES"),
    ):
        write(tmp_path, f"cheats/output/{name}", found=found)
    for name, found in (("a", "CORRECT"), ("b", "TIMEOUT"), ("c", "RAISES")):
        write(tmp_path, f"honest/{name}", HONEST, found)
    found = findings(*judged(tmp_path).values())
    caught, exact, refused = found.rates
    assert (caught.count, caught.of) == (2, 4)
    assert (exact.count, exact.of) == (1, 4)
    assert (refused.count, refused.of) == (2, 3)
    assert caught.share == 0.5
    # Wilson's interval of 2 of 4
    assert (caught.interval.low, caught.interval.high) == pytest.approx((0.150, 0.850), abs=1e-3)
    assert [item.fixture.name for item in found.problems] == [
        "output/b",
        "output/c",
        "output/d",
        "honest/b",
        "honest/c",
    ]
    assert list(found.families) == ["output", "honest"]


def test_rate_of_nothing_is_not_invented():
    """Without fixtures of a kind there is neither a share nor an interval, and no figure."""
    rate = Rate(what="cheats caught", count=0, of=0)
    assert (rate.share, rate.interval) == (None, None)
    text = document.as_markdown(findings(), fixtures.ROOT)
    assert "| cheats caught | 0 of 0 | - | - |" in text


@pytest.mark.parametrize(
    ("cheat", "honest", "code"),
    [
        ("INCORRECT", "CORRECT", 0),
        ("CORRECT", "CORRECT", 1),
        ("STALE_RESULT", "CORRECT", 1),
        ("INCORRECT", "NOT_TRITON", 1),
        ("RAISES", "CORRECT", 1),
    ],
)
def test_exit_code(cheat, honest, code, tmp_path, made_up, capsys):
    """1 when a cheat was believed, an honest kernel refused, or a status is not the named one."""
    write(tmp_path, "cheats/output/zeros", found=cheat)
    write(tmp_path, "honest/odd", HONEST, honest)
    assert cli.main(["redteam", str(tmp_path)]) == code
    shown = capsys.readouterr()
    assert "output/zeros" in shown.err
    assert "2/2" in shown.err
    assert ("WRONG" in shown.err) == bool(code)
    assert "cheats caught" in shown.out


def test_files_are_written(tmp_path, made_up):
    """JSON holds every verdict, and Markdown a table for each family whose links hold."""
    write(tmp_path, "cheats/output/zeros", found="INCORRECT")
    write(tmp_path, "cheats/output/on_a_gpu", re.sub("interpreter: .*\n", "", CHEAT))
    write(tmp_path, "honest/odd", HONEST, "TIMEOUT")
    folder = tmp_path / "docs"
    folder.mkdir()
    paths = [str(folder / "all.json"), str(folder / "all.md")]
    assert cli.main(["redteam", str(tmp_path), "--json", paths[0], "--markdown", paths[1]]) == 1
    found = json.loads(Path(paths[0]).read_text())
    assert [item["status"] for item in found["verdicts"]] == ["INCORRECT", "TIMEOUT"]
    assert found["verdicts"][0]["log"] == "a log"
    assert found["verdicts"][0]["reason"] == "because of kernels/x.py"
    assert [rate["of"] for rate in found["rates"]] == [1, 1, 1]
    text = Path(paths[1]).read_text()
    links = re.findall(r"\]\((\.\./.*?\.py)\)", text)
    assert len(links) == 2
    assert all((folder / link).is_file() for link in links)
    assert "| [odd](../honest/odd.py) | Odd, but right. | CORRECT | TIMEOUT |" in text
    # as in the repository, and not where it lies on this machine
    assert "| because of kernels/x.py |" in text


def test_links_hold_from_a_folder_outside_the_repository(tmp_path, monkeypatch):
    """Reasons are freed of this machine's paths, and the links that lead over them are not."""
    fixture = fixtures.read(fixtures.FOLDER / "cheats" / "output" / "zeros.py", fixtures.FOLDER)
    home, prefix = tmp_path / "home", ROOT / ".venv"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(sys, "prefix", str(prefix))
    packages = tmp_path / "packages"
    monkeypatch.syspath_prepend(packages)
    files = (ROOT / "kernels" / "x.py", prefix / "y.py", home / "z.py", packages / "w.py")
    verdict = Verdict(
        fixture=fixture,
        named=(Status.INCORRECT,),
        status=Status.INCORRECT,
        reason=" ".join(map(str, files)),
        log="",
        seconds=0.1,
        aftermath="",
    )
    text = document.as_markdown(findings(verdict), tmp_path)
    links = re.findall(r"\]\((.*?)(?:#.*?)?\)", text)
    assert {(tmp_path / link).resolve() for link in links} == {
        ROOT / "docs" / "judging.md",
        fixture.path,
    }
    assert "| kernels/x.py y.py z.py w.py |" in text


def test_killed_run_keeps_what_it_had(tmp_path, made_up, monkeypatch, capsys):
    """Each verdict is told, and written, before the next fixture is judged."""
    write(tmp_path, "cheats/output/a", found="INCORRECT")
    write(tmp_path, "cheats/output/b", found="INTERRUPTS")
    monkeypatch.setattr(MadeUpReferee, "evaluate", interrupted(MadeUpReferee.evaluate))
    path = tmp_path / "all.json"
    with pytest.raises(KeyboardInterrupt):
        cli.main(["redteam", str(tmp_path), "--json", str(path)])
    assert "output/a: INCORRECT" in capsys.readouterr().err
    assert [item["fixture"] for item in json.loads(path.read_text())["verdicts"]] == ["output/a"]


def interrupted(evaluate):
    """Have a made-up referee be interrupted by a file that says so."""

    def judge(self, candidate, upcoming=None):
        if "INTERRUPTS" in candidate.source:
            raise KeyboardInterrupt
        return evaluate(self, candidate, upcoming)

    return judge


def test_kill_while_a_verdict_is_written_keeps_those_before(tmp_path, made_up, monkeypatch):
    """The file is whole at any moment: it is replaced by one that was written beside it."""
    write(tmp_path, "cheats/output/a", found="INCORRECT")
    write(tmp_path, "cheats/output/b", found="INCORRECT")
    path = tmp_path / "all.json"
    replace = Path.replace

    def once(self, target):
        if path.exists():
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", once)
    with pytest.raises(KeyboardInterrupt):
        cli.main(["redteam", str(tmp_path), "--json", str(path)])
    assert [item["fixture"] for item in json.loads(path.read_text())["verdicts"]] == ["output/a"]


def test_json_can_be_written_to_what_is_no_file(tmp_path, made_up):
    """Such as a pipe, which stays where it is and is not replaced by a file."""
    write(tmp_path, "cheats/output/a", found="INCORRECT")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # so that neither end waits for the other
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert cli.main(["redteam", str(tmp_path), "--json", str(pipe)]) == 0
        assert pipe.is_fifo()
        found = json.loads(os.read(reader, 1 << 16))
    finally:
        os.close(reader)
    assert [item["fixture"] for item in found["verdicts"]] == ["output/a"]


def resumed(folder, *arguments, code=0):
    """What the JSON holds after a run that resumes it, by the fixture's name."""
    path = folder / "all.json"
    both = ["--json", str(path), "--resume", str(path)]
    assert cli.main(["redteam", str(folder), *both, *arguments]) == code
    return {item["fixture"]: item for item in json.loads(path.read_text())["verdicts"]}


def test_resumed_run_judges_what_is_new_or_changed_or_was_wrong(tmp_path, made_up, capsys):
    """What was taken over stands in tables, JSON and Markdown as what was judged now does."""
    write(tmp_path, "cheats/output/changed", found="INCORRECT")
    write(tmp_path, "cheats/output/wrong", found="CORRECT")
    write(tmp_path, "cheats/output/zeros", found="INCORRECT")
    write(tmp_path, "honest/odd", HONEST, "CORRECT")
    path, markdown = tmp_path / "all.json", tmp_path / "all.md"
    assert cli.main(["redteam", str(tmp_path), "--json", str(path)]) == 1
    before = {item["fixture"]: item for item in json.loads(path.read_text())["verdicts"]}
    write(tmp_path, "cheats/output/changed", CHEAT + "# more\n", "INCORRECT")
    write(tmp_path, "cheats/output/new", found="INCORRECT")
    made_up.judged.clear()
    capsys.readouterr()
    after = resumed(tmp_path, "--markdown", str(markdown), code=1)
    assert made_up.judged == ["changed.py", "new.py", "wrong.py"]
    assert set(after) == {*before, "output/new"}
    for name in ("output/zeros", "honest/odd"):
        assert after[name] == before[name]
    shown = capsys.readouterr()
    assert "2 of 5 verdicts are taken over" in shown.err
    assert "3/5 ok    output/changed" in shown.err
    assert "zeros" in shown.out
    text = markdown.read_text()
    assert "2 of 5 verdicts were taken over from a run of 2026-11-22." in text
    assert "| cheats caught | 3 of 4 |" in text


def test_right_kernel_that_was_refused_after_an_attack_has_it_judged_again(
    tmp_path, made_up, monkeypatch
):
    """The attack's own status was the named one, and yet there was a problem."""
    write(tmp_path, "cheats/attack/a", found="INCORRECT")
    path = tmp_path / "all.json"
    monkeypatch.setattr(made_up, "right_kernel", Status.TIMEOUT)
    assert cli.main(["redteam", str(tmp_path), "--json", str(path)]) == 1
    monkeypatch.setattr(made_up, "right_kernel", Status.CORRECT)
    made_up.judged.clear()
    assert resumed(tmp_path)["attack/a"]["problem"] == ""
    assert made_up.judged == ["a.py", "tritonexp"]


def test_run_that_was_ended_twice_is_resumed_twice(tmp_path, made_up, monkeypatch):
    """Nothing is judged again, and each verdict keeps the date of the run that judged it."""
    monkeypatch.setattr(MadeUpReferee, "evaluate", interrupted(MadeUpReferee.evaluate))
    path, markdown = tmp_path / "all.json", tmp_path / "all.md"
    days = ["2026-11-22", "2026-11-23", "2026-11-24"]
    for name, day in zip("abc", days, strict=True):
        where = build.environment(gpu=False, date=f"{day}T10:15:00+00:00")
        monkeypatch.setattr(bench, "environment_here", lambda where=where, **_: where)
        write(tmp_path, f"cheats/output/{name}", found="INCORRECT")
        arguments = ["redteam", str(tmp_path), "--json", str(path), "--markdown", str(markdown)]
        arguments += ["--resume", str(path)] if path.exists() else []
        if day == days[-1]:
            assert cli.main(arguments) == 0
        else:
            write(tmp_path, "cheats/output/z", found="INTERRUPTS")
            with pytest.raises(KeyboardInterrupt):
                cli.main(arguments)
            (tmp_path / "cheats/output/z.py").unlink()
    assert made_up.judged == ["a.py", "b.py", "c.py"]
    found = json.loads(path.read_text())["verdicts"]
    assert [item["date"][:10] for item in found] == days
    told = "2 of 3 verdicts were taken over from runs of 2026-11-22 and 2026-11-23."
    assert told in markdown.read_text()


def test_nothing_left_to_judge_opens_no_referee(tmp_path, made_up):
    """A run that was whole is told again, with its file as it was."""
    write(tmp_path, "cheats/output/zeros", found="INCORRECT")
    path = tmp_path / "all.json"
    assert cli.main(["redteam", str(tmp_path), "--json", str(path)]) == 0
    before = path.read_text()
    resumed(tmp_path)
    assert made_up.opened == 1
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"gpu": build.H200}, "its GPU was NVIDIA H200, and this run's is none"),
        ({"torch": "2.12.0"}, "its torch was 2.12.0, and this run's is 2.13.0+cpu"),
        ({"triton": "3.6.0"}, "its triton was 3.6.0, and this run's is 3.7.1"),
        ({"tritonexp": "0.0.9"}, "its tritonexp was 0.0.9, and this run's is 0.1.0"),
        ({"sandbox": "off"}, "its sandbox was off, and this run's is process group"),
    ],
)
def test_run_elsewhere_is_not_resumed(changes, told, tmp_path, made_up, capsys):
    """What differs is named, with both values, before anything is judged or written."""
    write(tmp_path, "cheats/output/zeros", found="INCORRECT")
    where = dataclasses.replace(build.environment(gpu=False), **changes)
    path = tmp_path / "all.json"
    path.write_text(document.as_json(Findings(environment=where, verdicts=())))
    before = path.read_text()
    resumed(tmp_path, code=1)
    shown = capsys.readouterr().err
    assert told in shown
    assert shown.count("this run's is") == 1
    assert "leave --resume out" in shown
    assert made_up.opened == 0
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "holds no findings of the red team (Invalid JSON: EOF"),
        ('{"environment": ', "holds no findings of the red team (Invalid JSON: EOF"),
        ("{}", "holds no findings of the red team (environment: field required)"),
    ],
)
def test_resuming_what_is_no_such_file_is_an_error(content, told, tmp_path, made_up, capsys):
    """It says what is wrong and which file is meant, before anything is judged."""
    write(tmp_path, "cheats/output/zeros", found="INCORRECT")
    path = tmp_path / "all.json"
    if content is not None:
        path.write_text(content)
    assert cli.main(["redteam", str(tmp_path), "--resume", str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"error: {path} {told}" in line
    assert "name a file that --json wrote" in line
    assert made_up.opened == 0


def test_findings_without_hashes_are_not_resumed(tmp_path, made_up, capsys):
    """Nobody knows of which text the verdicts are that an older version wrote."""
    write(tmp_path, "cheats/output/zeros", found="INCORRECT")
    path = tmp_path / "all.json"
    assert cli.main(["redteam", str(tmp_path), "--json", str(path)]) == 0
    path.write_text(re.sub('.*"sha256": .*\n', "", path.read_text()))
    assert cli.main(["redteam", str(tmp_path), "--resume", str(path)]) == 1
    assert "(verdicts.0.sha256: field required)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "nowhere"),
        (["--json", "nowhere/all.json"], "nowhere/all.json"),
        (["--markdown", "nowhere/all.md"], "nowhere/all.md"),
    ],
)
def test_bad_argument_ends_before_anything_is_judged(arguments, told, made_up, capsys):
    """A long run does not end with a file that cannot be written."""
    assert cli.main(["redteam", *arguments]) == 1
    assert told in capsys.readouterr().err
    assert made_up.opened == 0


# the real thing


def test_fixtures_are_timed_as_a_run_is_but_for_the_rounds():
    """What is told of timing=device must be what the fixtures were tried against."""
    timing = compose(["timing=device"]).timing
    assert (timing.rounds, timing.max_rounds) > (bench.PROTOCOL.rounds, bench.PROTOCOL.max_rounds)
    rounds = {"rounds": bench.PROTOCOL.rounds, "max_rounds": bench.PROTOCOL.max_rounds}
    assert TimingProtocol(**dataclasses.asdict(timing) | rounds) == bench.PROTOCOL


def test_every_fixture_has_a_header_and_every_family_its_cheats():
    """All files under tests/redteam can be read, and both kinds are there."""
    families = {fixture.family for fixture in fixtures.read_folder(fixtures.FOLDER)}
    assert families >= {"attack", "clock", "output", "precision", "replay", "delegation", "honest"}


def interpreted():
    """The files that have a line for the interpreter; a bad header fails a test, not the search."""
    return [
        path
        for path in sorted(fixtures.FOLDER.rglob("*.py"))
        if "\ninterpreter:" in path.read_text(encoding="utf-8")
    ]


@pytest.fixture(scope="module")
def bench_for():
    """One referee for each operation and time limit, opened when its first fixture comes."""
    begin = time.perf_counter()
    benches = {}
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        # compiling takes seconds and has tests of its own: here the kernels are only run
        patch.setattr(offline, "compile_for", lambda *_, **__: ((), None))

        def bench_of(fixture):
            # a sleeper takes as long as it may; others are slow only where the machine is
            timeout_s = 3 if Status.TIMEOUT in fixture.interpreter_statuses else 20
            key = fixture.operation, timeout_s
            if key not in benches:
                opened = bench.Bench(
                    operations.load(fixture.operation), Mode.INTERPRETER, timeout_s=timeout_s
                )
                benches[key] = stack.enter_context(opened)
            return benches[key]

        yield bench_of
    print(f"all fixtures in the interpreter: {time.perf_counter() - begin:.0f} s")  # noqa: T201 - with -s


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU would be used instead")
@pytest.mark.parametrize("path", interpreted(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_fixture_gets_its_verdict_in_the_interpreter(path, bench_for):
    """The referee finds what the header names, and after an attack still judges rightly."""
    fixture = fixtures.read(path, fixtures.FOLDER)
    verdict = bench_for(fixture).judge(fixture)
    assert verdict.problem == "", f"{verdict}\n{verdict.log}"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU would be used instead")
def test_jobs_judge_side_by_side():
    """With several processes every fixture is judged once, and who takes too much comes last."""
    chosen = fixtures.read_folder(fixtures.FOLDER, "attack/fork_bomb.py")
    chosen += fixtures.read_folder(fixtures.FOLDER, "output/[nz]*.py")
    chosen += fixtures.read_folder(fixtures.FOLDER, "honest/softmax_addresses.py")
    found = list(bench.judge(chosen, Mode.INTERPRETER, jobs=2))
    assert sorted(item.fixture.name for item in found) == sorted(item.name for item in chosen)
    assert [item.problem for item in found] == [""] * len(found)
    assert found[-1].fixture.alone


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.timeout(7200)
def test_all_fixtures_get_their_verdicts_on_a_gpu():
    """Every cheat is caught by a status that its header names, and every honest kernel CORRECT."""
    wrong = []
    for verdict in bench.judge(fixtures.read_folder(fixtures.FOLDER), Mode.GPU):
        print(verdict, flush=True)  # noqa: T201 - with -s, as the command shows it
        if verdict.problem:
            wrong.append(str(verdict))
    assert wrong == []
