"""Who works for a referee, and what was begun of the candidate that comes next."""

import os
import signal

import builders as build
import pytest
import torch
from candidates import RIGHT, candidate
from processes import children_of, is_running, wait_until

from tritonexp import operations
from tritonexp.evaluation.crews import Crews
from tritonexp.evaluation.memory import Arena

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU would be used instead")

OTHER = RIGHT + "# another\n"


@pytest.fixture
def crews():
    """Those of softmax in the interpreter, where a next candidate is begun as on a GPU."""
    softmax = operations.load("softmax")
    made = Crews(
        softmax,
        [softmax.baseline],
        [softmax.spec.size((64, 64))],
        build.FEW_ROUNDS,
        None,
        cores=5,
        sandbox=True,
    )
    # so that it seems worth it, though the crews without a GPU have no compilers
    made._compilers = 1
    yield made
    made.close()
    assert children_of(made.servers()[0]._process.pid) == []


def process_ids(begun):
    """Of a candidate's workers."""
    return [worker._process_id for worker in begun.crew.workers]


def test_what_was_begun_is_what_is_judged(crews):
    """The cases that were drawn for it and the workers that were forked for it."""
    crews.begin_next(candidate(RIGHT))
    begun = crews._next
    assert len(begun.crew.workers) == 3
    with crews.at_work(candidate(RIGHT)) as (taken, subjects):
        assert taken is begun
        assert subjects[0].crew is begun.crew
        for worker in subjects[0].crew.workers:
            worker.finish_start(20)
        assert [subject.name for subject in subjects] == ["candidate", "baseline"]
        assert list(taken.ahead.ready) == []
        taken.ahead.step()
        assert list(taken.ahead.ready) == list(taken.roster.groups)
    assert crews._next is None
    assert not any(map(is_running, process_ids(begun)))


@pytest.mark.parametrize("instead", [candidate(OTHER), None])
def test_what_was_begun_of_another_is_ended(instead, crews):
    """Whoever comes after all has cases of its own, and nothing of the other is left."""
    crews.begin_next(candidate(RIGHT))
    begun = crews._next
    if instead is None:
        crews.begin_next(None)
        assert crews._next is None
    else:
        with crews.at_work(instead) as (taken, _):
            assert taken.candidate == instead
            assert taken.roster != begun.roster
    assert not any(map(is_running, process_ids(begun)))
    assert not begun.crew._forks.folder.exists()


def test_what_was_begun_by_a_server_that_was_lost_is_begun_anew(crews):
    """A candidate that takes the fork server with it costs the next one no more than time."""
    crews.begin_next(candidate(RIGHT))
    begun = crews._next
    lost = begun.crew.server._process
    os.kill(lost.pid, signal.SIGKILL)
    lost.wait()
    assert wait_until(lambda: not any(map(is_running, process_ids(begun))))
    with crews.at_work(candidate(RIGHT)) as (taken, subjects):
        assert taken.crew.server is not begun.crew.server
        for worker in subjects[0].crew.workers:
            worker.finish_start(60)


def test_nothing_begun_outlives_a_failure_of_ours(crews, monkeypatch):
    """Such as memory that cannot be had for the workers."""

    def refuse(*_):
        raise MemoryError("none left")

    crews.begin_next(candidate(RIGHT))
    begun = crews._next
    monkeypatch.setattr(Arena, "__init__", refuse)
    with pytest.raises(MemoryError, match="none left"), crews.at_work(candidate(RIGHT)):
        pass
    assert not any(map(is_running, process_ids(begun)))


def test_nothing_begun_outlives_the_referee(crews):
    """A sweep may end before the candidate that was said to be next."""
    crews.begin_next(candidate(RIGHT))
    begun = crews._next
    crews.close()
    assert not any(map(is_running, process_ids(begun)))
    assert not begun.crew._forks.folder.exists()
