"""Who works for a referee, and what was begun of the candidate that comes next."""

import dataclasses
import math
import os
import signal
import subprocess
import time

import builders as build
import pytest
import torch
from candidates import RIGHT, candidate
from processes import children_of, is_running, wait_until

from tritonexp import operations
from tritonexp.errors import EvaluationError
from tritonexp.evaluation import crews as crews_module
from tritonexp.evaluation import sandbox
from tritonexp.evaluation.crews import Crews
from tritonexp.evaluation.forkserver import ForkServer, Settings
from tritonexp.evaluation.memory import Arena
from tritonexp.evaluation.process import Crew

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU would be used instead")

OTHER = RIGHT + "# another\n"
# a fifth of a second of processor time, which is told in hundredths
SPIN = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end:\n    pass\n"


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
        timeout_s=20.0,
    )
    # so that it seems worth it, though the crews without a GPU have no compilers
    made._compilers = 1
    yield made
    made.close()
    assert children_of(made.servers()[0]._process.pid) == []


def begin_next(crews):
    """What is begun of a right candidate, where a crew was forked ahead."""
    crews.servers()[0].fork_ahead(crews.places)
    crews.begin_next(candidate(RIGHT))
    assert crews._next is not None
    return crews._next


def process_ids(begun):
    """Of a candidate's workers."""
    return [worker._process_id for worker in begun.crew.workers]


def test_what_was_begun_is_what_is_judged(crews):
    """The cases that were drawn for it and the workers that were forked for it."""
    begun = begin_next(crews)
    assert len(begun.crew.workers) == 3
    with crews.at_work(candidate(RIGHT)) as (taken, subjects):
        assert taken is begun
        assert subjects[0].crew is begun.crew
        assert not any(worker.started or not worker.idle for worker in begun.crew.workers)
        taken.start()
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
    begun = begin_next(crews)
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
    begun = begin_next(crews)
    lost = begun.crew.server._process
    os.kill(lost.pid, signal.SIGKILL)
    lost.wait()
    assert wait_until(lambda: not any(map(is_running, process_ids(begun))))
    with crews.at_work(candidate(RIGHT)) as (taken, subjects):
        assert taken.crew.server is not begun.crew.server
        taken.start()
        for worker in subjects[0].crew.workers:
            worker.finish_start(60)


def test_nothing_begun_outlives_a_failure_of_ours(crews, monkeypatch):
    """Such as memory that cannot be had for the workers."""

    def refuse(*_):
        raise MemoryError("none left")

    begun = begin_next(crews)
    monkeypatch.setattr(Arena, "__init__", refuse)
    with pytest.raises(MemoryError, match="none left"), crews.at_work(candidate(RIGHT)):
        pass
    assert not any(map(is_running, process_ids(begun)))


def test_nothing_begun_outlives_the_referee(crews):
    """A sweep may end before the candidate that was said to be next."""
    begun = begin_next(crews)
    crews.close()
    assert not any(map(is_running, process_ids(begun)))
    assert not begun.crew._forks.folder.exists()


def test_nothing_is_begun_where_workers_would_be_forked_for_it(crews):
    """Their contexts would be created while somebody is timed."""
    crews.begin_next(candidate(RIGHT))
    assert crews._next is None
    assert children_of(crews.servers()[0]._process.pid) == []


def test_references_of_a_server_that_was_lost_are_begun_anew(crews):
    """They cannot answer any more, and that is no fault of the baseline."""
    softmax = operations.load("softmax")
    arena = Arena(4096, "cpu")
    lost = ForkServer(Settings(None))
    stale = Crew(lost, softmax.baseline, [arena])
    crews._standing["baseline"] = stale
    lost.close()
    with crews.at_work(candidate(RIGHT)) as (_, subjects):
        baseline = subjects[1]
        assert baseline.name == "baseline"
        assert baseline.crew is not stale
        baseline.worker.finish_start(20)
    arena.close()


@pytest.mark.parametrize(("max_cpu_s", "is_kept"), [(600, True), (0.1, False)])
def test_references_serve_on_while_they_have_processor_time(max_cpu_s, is_kept, crews, monkeypatch):
    """Its limit is for a worker's whole life, and CUDA waits by spinning."""
    monkeypatch.setattr(sandbox, "MAX_CPU_S", max_cpu_s)
    baseline = crews._references[0]
    spun = dataclasses.replace(baseline, source=SPIN + baseline.source)
    monkeypatch.setattr(crews, "_references", (spun,))
    with crews.at_work(candidate(RIGHT)) as (_, subjects):
        crew = subjects[1].crew
        crew.workers[0].finish_start(20)
        assert crew.worn is not is_kept
        # only there do they stay
        monkeypatch.setattr(crews, "_gpu", build.H200)
    monkeypatch.setattr(crews, "_gpu", None)
    assert crews._standing == ({"baseline": crew} if is_kept else {})
    assert is_running(crew.workers[0]._process_id) is is_kept


def test_processor_time_is_that_of_the_process():
    """Of all its threads, and as good as used up where it is gone."""
    begin_s = time.process_time()
    assert sandbox.processor_s(os.getpid()) == pytest.approx(begin_s, abs=0.5)
    while time.process_time() < begin_s + 0.2:
        pass
    assert sandbox.processor_s(os.getpid()) >= begin_s + 0.15
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    assert sandbox.processor_s(gone.pid) == math.inf


def test_memory_of_the_gpu_that_cannot_be_had_is_told_with_the_bytes(crews, monkeypatch):
    """What is needed, what is free and what to do, instead of torch's traceback."""

    def refuse(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8.00 GiB")

    monkeypatch.setattr(Arena, "__init__", refuse)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1 << 30, 1 << 33))
    told = (
        r"results of 2 workers need [\d,]+ bytes .* 0 have theirs, and 1,073,741,824 bytes are free"
    )
    with pytest.raises(EvaluationError, match=told), crews.at_work(candidate(RIGHT)):
        pass


@pytest.mark.parametrize(
    ("text", "cores"), [("200000 100000", 2), ("max 100000", 64), ("50000 100000", 1), ("", 64)]
)
def test_a_containers_limit_of_processors_counts(text, cores, tmp_path, monkeypatch):
    """Who is told of 64 cores and may use two has two."""
    limit = tmp_path / "cpu.max"
    limit.write_text(text)
    monkeypatch.setattr(crews_module, "CPU_LIMIT", limit)
    monkeypatch.setattr(crews_module.os, "sched_getaffinity", lambda _: range(64))
    assert crews_module.available_cores() == cores
