"""In which order implementations are verified, so that who tunes has the machine to itself.

In the interpreter, with rosters as a GPU has them. What is found is in the tests of the referee.
"""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from candidates import RIGHT, candidate
from processes import is_running

from tritonexp import operations
from tritonexp.evaluation import inputs
from tritonexp.evaluation.ahead import CompileAhead
from tritonexp.evaluation.correctness import reference
from tritonexp.evaluation.forkserver import ForkServer, Settings
from tritonexp.evaluation.layout import lay_out
from tritonexp.evaluation.memory import Arena
from tritonexp.evaluation.process import ChildProcess, Crew
from tritonexp.evaluation.roster import draw_roster
from tritonexp.evaluation.verification import Subject, Verifier
from tritonexp.records import Case, Mode, Role

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU would be used instead")

TUNED = RIGHT + "# autotuned\n"
SCOUTS = 2


@pytest.fixture(scope="module")
def server():
    """A fork server for the interpreter."""
    started = ForkServer(Settings(None))
    yield started
    started.close()


@pytest.fixture
def verified(server, monkeypatch):
    """Verifies a candidate beside others; returns who was asked to run, and which scouts lived."""
    softmax = operations.load("softmax")
    spec = dataclasses.replace(
        softmax.spec, interpreter=((3, 257), (16, 64)), irregular=((1, 1),), dtypes=("float32",)
    )
    operation = dataclasses.replace(softmax, spec=spec)
    roster = draw_roster(spec, (), Mode.INTERPRETER)
    of_both = [group for group in roster.groups if group[0].size.extents in spec.interpreter]
    compared = tuple(group[0] for group in of_both)
    roster = dataclasses.replace(roster, compared=compared, left=compared, is_timed=True)
    size_bytes = max(lay_out(spec, case.size, case.dtype, 1).size_bytes for case in roster.cases)
    arenas, crews, asked = [], [], []

    def crew_of(implementation, count):
        own = [Arena(size_bytes, "cpu") for _ in range(count)]
        arenas.extend(own)
        crews.append(Crew(server, implementation, own))
        return crews[-1]

    def run(source, *others):
        subjects = [Subject(crew_of(candidate(source), 1 + SCOUTS))]
        subjects.append(Subject(crew_of(operation.baseline, 1)))
        for number, text in enumerate(others):
            other = dataclasses.replace(
                candidate(text), name=f"other-{number}", role=Role.CONTENDER
            )
            subjects.append(Subject(crew_of(other, 1)))
        names = {
            worker: "scout" if index else subject.name
            for subject in subjects
            for index, worker in enumerate(subject.crew.workers)
        }
        scouts = subjects[0].scouts
        original = ChildProcess.ask

        def ask(child, command, *arguments, **fields):
            if command == "run":
                alive = sum(is_running(scout._process_id) for scout in scouts)
                asked.append((names[child], alive))
            original(child, command, *arguments, **fields)

        monkeypatch.setattr(ChildProcess, "ask", ask)
        ahead = CompileAhead([], spec, roster.groups)
        Verifier(operation, subjects, ahead, "cpu", 20.0, lambda _: None).run(roster)
        assert [subject.failure for subject in subjects] == [None] * len(subjects)
        return asked

    yield run
    for crew in crews:
        crew.close()
    for arena in arenas:
        arena.close()


def test_reference_that_tunes_runs_before_the_scouts_and_another_beside_them(verified):
    """All of its cases; a reference that does not tune waits for nobody."""
    order = [name for name, _ in verified(RIGHT, TUNED, RIGHT) if name != "baseline"]
    assert {"scout", "other-0", "other-1", "candidate"} == set(order)
    first = order.index("scout")
    assert set(order[:first]) == {"other-0"}
    assert "other-0" not in order[first:]
    # one who waited would come after all of the scouts' cases
    assert order.index("other-1") < order.index("scout", first + SCOUTS)


@pytest.mark.parametrize("source", [RIGHT, TUNED], ids=["plain", "tuned"])
def test_candidate_that_tunes_is_timed_when_its_scouts_are_gone(source, verified):
    """Not only told to go: what is left of them would be seen in what it tunes by."""
    alive = [alive for name, alive in verified(source) if name == "candidate"]
    # two cases, and one of them repeated
    assert len(alive) == 3
    if source == TUNED:
        assert alive == [0, 0, 0]


@pytest.mark.parametrize("extents", [(65, 1), (65, 3)])
def test_result_that_is_always_the_same_proves_nothing_without_kernels(extents):
    """One column's softmax is 1, and so is what an earlier call left in the memory of the next."""
    softmax = operations.load("softmax")
    crew = SimpleNamespace(implementation=softmax.baseline)
    subjects = [SimpleNamespace(role=role, crew=crew) for role in (Role.CANDIDATE, Role.BASELINE)]
    verifier = Verifier(softmax, subjects, None, "cpu", 20.0, lambda _: None)
    case = Case(size=softmax.spec.size(extents), dtype="float32", distribution="normal", seed=1)
    values = inputs.make_arguments(softmax.spec, case, "cpu")
    item = SimpleNamespace(case=case, expected=reference(softmax.function, values))
    assert verifier._depends_on_values(item) is (extents[1] > 1)
