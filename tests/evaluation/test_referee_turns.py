"""When the workers of a next evaluation are forked, so that nobody who is timed is disturbed.

Needs no GPU: the referees of these tests take themselves to have one where that is all they need.
"""

import threading
from contextlib import contextmanager

import builders as build
import pytest
import torch
from candidates import RIGHT, candidate

from tritonexp import operations
from tritonexp.evaluation import Referee, lease, offline
from tritonexp.records import Status

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU would be used instead")


@pytest.fixture
def referee(monkeypatch, tmp_path):
    """Softmax's, with a lease of its own; nothing is compiled."""
    monkeypatch.setenv("TRITONEXP_LEASES", str(tmp_path))
    monkeypatch.setattr(offline, "compile_for", lambda *_, **__: ((), None))
    softmax = operations.load("softmax")
    with Referee(
        softmax,
        sizes=[softmax.spec.size((64, 64))],
        protocol=build.FEW_ROUNDS,
        counts_traffic=False,
    ) as made:
        yield made


@contextmanager
def another_holds_the_gpu(*, shared):
    """As another process would; a lease is one thread's."""
    held, ended = threading.Event(), threading.Event()

    def hold():
        with lease.leased(build.H200.uuid, shared=shared):
            held.set()
            ended.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_no_workers_are_forked_ahead_while_another_has_the_gpu(referee, monkeypatch):
    """Their contexts would be seen in its times; the evaluation forks them when its turn comes."""
    forked = []
    monkeypatch.setattr(referee, "gpu", build.H200)
    monkeypatch.setattr(referee._crews, "prepare", lambda: forked.append("workers"))
    with another_holds_the_gpu(shared=False):
        referee.prepare()
    assert forked == []
    referee.prepare()
    assert forked == ["workers"]


@pytest.mark.parametrize(
    ("text", "forks"), [("", True), ("# as an autotuner would\n", False)], ids=["plain", "tunes"]
)
def test_nothing_is_forked_beside_who_tunes(text, forks, referee, monkeypatch):
    """What it chooses would depend on the contexts that are created meanwhile."""
    asked = []
    monkeypatch.setattr(referee._crews, "fork_next", asked.append)
    monkeypatch.setattr(referee, "_needed_bytes", lambda *_: 1)
    start = referee._start

    def on_a_gpu(*given, **named):
        with monkeypatch.context() as patch:
            patch.setattr(referee, "gpu", build.H200)
            start(*given, **named)

    monkeypatch.setattr(referee, "_start", on_a_gpu)
    assert referee.evaluate(candidate(RIGHT + text), lambda: None).status is Status.CORRECT
    assert asked == [1] * forks
