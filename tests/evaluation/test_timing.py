"""Rounds in turns, on fake workers that really compute and on a clock that they move.

A fake lives in this process: it reads its arguments from its arena, computes softmax, and moves the
clock by as long as its calls are to last. What CUDA adds is covered by the tests marked gpu.
"""

# ruff: noqa: D102 - the methods of a fake are those of a worker

import collections
import contextlib
import dataclasses
import functools
import itertools
import math
import types

import numpy as np
import pytest
import torch
from candidates import RIGHT, candidate

from tritonexp import operations
from tritonexp.errors import DisturbedError, ReferenceFailedError
from tritonexp.evaluation import alone_checks, clock_checks, quiet, rounds, thread_checks, timing
from tritonexp.evaluation.inputs import make_arguments
from tritonexp.evaluation.lanes import Lane, Setting
from tritonexp.evaluation.layout import lay_out
from tritonexp.evaluation.memory import Arena
from tritonexp.evaluation.process import WorkerFailedError
from tritonexp.evaluation.verification import results_judge
from tritonexp.records import Case, Clock, ClockSample, Gpu, Role, Status, TimingProtocol

OPERATION = operations.load("softmax")
SPEC = OPERATION.spec
SIZE = SPEC.size((8, 64))
SETS = 3
GPU = Gpu(
    name="fake",
    uuid="0",
    compute_capability="9.0",
    sm_count=1,
    # so small that more sets would not fit
    memory_bytes=1 << 18,
    # so small that SETS sets of SIZE are four times it
    l2_bytes=SETS * SPEC.call_bytes(SIZE, "float32") // 4,
    shared_memory_per_block_bytes=1 << 16,
    driver=None,
)
# replays before the first round: those that find out how long one takes, and the check of the graph
BEFORE_ROUNDS = timing.COUNT_TRIES + math.ceil(len(SPEC.distributions) / SETS)
# replays among the rounds of a graph that are verified and do not count
VERIFIED = 2
PROTOCOL = TimingProtocol(
    name="device",
    clock=Clock.GRAPH,
    rounds=6,
    max_rounds=6,
    window_us=2000.0,
    host_calls=3,
    cold_factor=4.0,
    margin=0.01,
    max_clock_disagreement=0.05,
    max_fraction_of_ceiling=1.0526,
)


class FakeWorker:
    """Answers as a worker does; `claimed` is the part of its time that it admits."""

    def __init__(self, name, call_us=100.0, claimed=1.0):
        self.implementation = dataclasses.replace(candidate(RIGHT), name=name)
        sets = 1 + max(SETS, timing.EVENT_SETS)
        self.arena = Arena(lay_out(SPEC, SIZE, "float32", sets).size_bytes, "cpu")
        self.alive = True
        self.call_us = call_us
        self.claimed = claimed
        self.commands = []
        self.journal = []
        self.asked = []
        self._asked = collections.deque()
        self._sets = []
        self._passes = 1
        # how long a thread of the process has run
        self.ran_us = 0.0

    def ask(self, command, **fields):
        self.asked.append(command)
        self._asked.append((command, fields))

    def answer(self, timeout_s):
        command, fields = self._asked.popleft()
        return self.call(command, timeout_s, **fields)

    def call(self, command, timeout_s, **fields):
        self.commands.append(command)
        self.journal.append((self.implementation.name, command, fields.get("count")))
        return getattr(self, command)(**fields)

    def capture(self, sets, passes):
        self._sets, self._passes = sets, passes
        calls = passes * len(sets)
        kernel = {"name": "softmax_kernel", "is_kernel": True, "grid": [1, 1, 1], "count": calls}
        kernel["own"] = True
        figures = dict.fromkeys(("threads", "registers", "shared_bytes", "local_bytes"), 32)
        return {
            "work": [kernel | figures],
            "launched": {"softmax_kernel": calls},
            "distinct": True,
        }

    def prepare_events(self, sets, flush_bytes):
        self._sets, self._passes = sets, 1
        return {}

    @contextlib.contextmanager
    def paused(self):
        self.journal.append((self.implementation.name, "stopped", None))
        yield
        self.journal.append((self.implementation.name, "continued", None))

    def threads_us(self):
        return {1: self.ran_us, 2: 7.0}

    threads_at_rest_us = threads_us

    def prepare_host(self):
        self.results = self.compute()
        return {}

    def replay(self, count, poison=None, late=None):
        if late and late["values"]:
            for target, source in zip(self._sets[late["index"]], late["values"], strict=True):
                self._at(target).copy_(self._at(source))
        calls = self._passes * len(self._sets)
        # the first replay is there for the switch, and not timed
        elapsed_us = self._spin((count + 1) * calls) * count / (count + 1)
        return {"elapsed_us": elapsed_us * self.claimed}

    def time_events(self, count):
        return {"elapsed_us": self._spin(count) * self.claimed, "late_us": 2.0 * count}

    def time_burst(self, count):
        return {"elapsed_us": self._spin(count)}

    def time_host(self, count):
        return {"times_us": [self._spin(1) for _ in range(count)]}

    def export(self, index, outputs):
        self._at(outputs[0]).copy_(self.results[index])
        return {"copied": True}

    def release(self):
        return {"replaced": [], "persisting_l2_bytes": 0}

    def compute(self):
        """The results of every set, as a replay leaves them."""
        return [self._at(item).softmax(dim=1) for (item,) in self._sets]

    def _at(self, item):
        return self.arena.view(item["offset"], item["shape"], item["dtype"])

    def _spin(self, calls):
        self.results = self.compute()
        elapsed_us = calls * self.call_us
        # asking and answering take time that only the referee's clock sees
        CLOCK.now_s += (elapsed_us + 150) / 1e6
        return elapsed_us


class MovedClock:
    """A clock that stands until somebody works."""

    now_s = 0.0

    def perf_counter(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds


CLOCK = MovedClock()


def reference(call_us=100.0):
    """A fake of what the candidate is compared with."""
    worker = FakeWorker("reference", call_us)
    changed = dataclasses.replace(worker.implementation, role=Role.CONTENDER)
    worker.implementation = changed
    return worker


class Steady:
    """Clocks that never change, and may lack a figure."""

    reason = ""

    def read(self):
        return ClockSample(
            sm_mhz=1980, memory_mhz=3201, temperature_c=40, power_w=300.0, reasons=()
        )


class Idle(FakeWorker):
    """Computes when it is captured, and never again."""

    def capture(self, sets, passes):
        answer = super().capture(sets, passes)
        self.first = super().compute()
        return answer

    def compute(self):
        return self.first


class Sloppy(FakeWorker):
    """Does without the maximum in its graph, which only large values show."""

    def compute(self):
        return [
            numerator / numerator.sum(dim=1, keepdim=True)
            for (item,) in self._sets
            for numerator in [self.arena.view(item["offset"], item["shape"], item["dtype"]).exp()]
        ]


class Failing(FakeWorker):
    """Fails a command after having done it a number of times."""

    def __init__(self, name, command, after, status=Status.CRASHED, *, alive=True):
        super().__init__(name)
        self.failing, self.after, self.status, self.stays = command, after, status, alive

    def call(self, command, timeout_s, **fields):
        if command == self.failing and self.commands.count(command) >= self.after:
            self.alive = self.stays
            self.commands.append(command)
            raise WorkerFailedError(self.status, f"{command} failed")
        return super().call(command, timeout_s, **fields)


@pytest.fixture(autouse=True)
def _no_gpu_and_no_noise(monkeypatch):
    for module in (rounds, alone_checks, clock_checks, quiet):
        clock = types.SimpleNamespace(perf_counter=CLOCK.perf_counter, sleep=CLOCK.sleep)
        monkeypatch.setattr(module, "time", clock)
    # the arenas here lie in the CPU's memory: a write is there when it returns
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    for module in (alone_checks, clock_checks):
        monkeypatch.setattr(module, "use_gpu", lambda: None)
    monkeypatch.setattr(quiet.Probe, "__init__", lambda self: None)
    monkeypatch.setattr(quiet.Probe, "slowdown", lambda self: 1.0)


@pytest.fixture
def take_turns():
    """Times fake workers; closes their arenas at the end."""
    seen = []

    def timed(*workers, protocol=PROTOCOL, judge=None, clocks=None):
        seen.extend(workers)
        for worker in workers:
            worker.journal = workers[0].journal
        seeds = iter(range(1_000_000))

        def draw(distribution):
            case = Case(size=SIZE, dtype="float32", distribution=distribution, seed=next(seeds))
            return make_arguments(SPEC, case, "cpu")

        judge = judge or results_judge(OPERATION, "float32", SIZE)
        lanes, log = timing.time_in_turns(
            SPEC, SIZE, "float32", workers, protocol, GPU, draw, judge, clocks or Steady(), 10.0
        )
        timed.log = log
        # or a later answer would be another request's
        assert not any(worker._asked for worker in workers if worker.alive)
        return lanes

    yield timed
    for worker in seen:
        worker.arena.close()


def test_each_lane_has_every_round_and_its_own_time(take_turns):
    """Times per call are those of the workers, whatever the count of calls was."""
    lanes = take_turns(FakeWorker("quick", 100), FakeWorker("slow", 300))
    assert [lane.failure for lane in lanes] == [None, None]
    quick, slow = lanes
    assert len(quick.rounds_us) == len(slow.rounds_us) == PROTOCOL.rounds
    assert quick.median_us == pytest.approx(100, rel=0.01)
    assert slow.median_us == pytest.approx(300, rel=0.01)
    assert quick.referee_us == pytest.approx(quick.median_us, rel=0.01)
    assert slow.host_us == pytest.approx(300, rel=0.01)


def test_lanes_take_turns_in_shuffled_order(take_turns):
    """Each round has every lane once, and the order changes between rounds."""
    names = ["a", "b", "c"]
    protocol = dataclasses.replace(PROTOCOL, clock=Clock.HOST, rounds=24)
    lanes = take_turns(*(FakeWorker(name, 50) for name in names), protocol=protocol)
    played = [name for name, command, _ in lanes[0].worker.journal if command == "time_burst"]
    # one more is verified, and does not count
    assert len(played) == (protocol.rounds + 1) * len(names)
    assert [len(lane.rounds_us) for lane in lanes] == [protocol.rounds] * len(names)
    rounds = [tuple(played[i : i + 3]) for i in range(0, len(played), 3)]
    assert all(sorted(group) == names for group in rounds)
    assert len(set(rounds)) > 1


def test_only_the_candidate_and_the_baseline_are_verified_in_rounds(take_turns):
    """The others have no reason to idle, and their turns take time."""
    baseline = FakeWorker("baseline")
    baseline.implementation = dataclasses.replace(baseline.implementation, role=Role.BASELINE)
    mine, baseline, other = take_turns(FakeWorker("mine"), baseline, reference())
    exports = [lane.worker.commands.count("export") for lane in (mine, baseline, other)]
    assert exports[0] == exports[1] > VERIFIED
    # where the host's time is taken
    assert exports[2] == 1


def counts_of(lane, ask):
    """The counts that a setting asks a lane for, and may."""
    generator = np.random.default_rng(0)
    setting = types.SimpleNamespace(generator=generator, _most=None)
    setting._most = functools.partial(Setting._most, setting)
    return {ask(setting, lane) for _ in range(200)}


@pytest.mark.parametrize(
    ("replays", "of_candidate", "of_others"),
    [(0.3, {1, 2}, {1}), (1.0, {1, 2}, {1}), (2.5, {2, 3}, {2, 3}), (8.0, {6, 7, 8, 9, 10}, None)],
)
def test_counts_of_rounds(replays, of_candidate, of_others):
    """They vary by a quarter; the candidate's always do, and no replay of one is never the last."""
    workers = FakeWorker("mine"), reference()
    mine, other = lanes = [Lane(worker, Clock.GRAPH, replays=replays) for worker in workers]
    assert counts_of(mine, Setting.jittered) == of_candidate
    assert counts_of(other, Setting.jittered) == (of_others or of_candidate)
    for lane in lanes:
        most = max(counts_of(lane, Setting.jittered))
        assert counts_of(lane, Setting.up_to_a_round) == set(range(1, most + 1))
    for worker in workers:
        worker.arena.close()


def test_replay_that_idles_in_some_places_of_a_turn_is_found_out(take_turns):
    """Where its results are those that are seen, which may be in each place."""

    class Lazy(FakeWorker):
        def replay(self, count, poison=None, late=None):
            stale = getattr(self, "results", None)
            answer = super().replay(count, poison, late)
            if poison is None and count == 1:
                self.results = stale
            return answer

    found = [take_turns(Lazy("lazy", 300), reference(300))[0].failure for _ in range(12)]
    statuses = {failure.status for failure in found if failure is not None}
    assert statuses == {Status.STALE_RESULT}


def test_counts_of_replays_cannot_be_foreseen(take_turns):
    """The counts of the rounds vary, so none tells a round from a check."""
    protocol = dataclasses.replace(PROTOCOL, window_us=6000.0)
    (lane,) = take_turns(FakeWorker("a", 100), protocol=protocol)
    counts = [count for _, command, count in lane.worker.journal if command == "replay"]
    assert len(set(counts)) > 3


def test_failing_lane_drops_out_and_the_others_finish(take_turns):
    """A crash in a round is that lane's; it is asked for nothing more."""
    lanes = take_turns(
        FakeWorker("a"), Failing("broken", "replay", 5, alive=False), FakeWorker("b")
    )
    a, broken, b = lanes
    assert (a.failure, b.failure) == (None, None)
    assert len(a.rounds_us) == len(b.rounds_us) == PROTOCOL.rounds
    assert broken.failure.status is Status.CRASHED
    assert len(broken.rounds_us) < PROTOCOL.rounds
    assert broken.worker.commands.count("replay") == 6
    assert broken.worker.commands[-1] == "replay"


@pytest.mark.parametrize("claimed", [0.5, 0.9, 2.0])
def test_worker_whose_clock_lies_is_a_mismatch(take_turns, claimed):
    """The referee's own clock gives a false one away, and leaves the honest lane alone."""
    liar, honest = take_turns(FakeWorker("liar", 100, claimed), FakeWorker("honest", 100))
    assert liar.failure.status is Status.CLOCK_MISMATCH
    assert "disagree" in liar.failure.reason
    assert liar.referee_us == pytest.approx(100, rel=0.01)
    assert honest.failure is None


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        (
            {"launched": {"softmax_kernel": 1}},
            Status.STALE_RESULT,
            "launched softmax_kernel 1 time",
        ),
        ({"launched": {}}, Status.NOT_TRITON, "no Triton kernel"),
        ({"distinct": False}, Status.STALE_RESULT, "the same memory"),
        ({"launched": {"softmax_kernel": "many"}}, Status.TAMPERING, "launched"),
        ({"work": [{"name": "softmax_kernel"}]}, Status.TAMPERING, "work"),
    ],
    ids=["one-for-all", "none", "one-buffer", "no-number", "no-count"],
)
def test_graph_in_which_not_every_call_works_is_refused(take_turns, answer, status, told):
    """What is timed must hold the launches and the results of each of its calls."""

    class Odd(FakeWorker):
        def capture(self, sets, passes):
            return super().capture(sets, passes) | answer

    odd, honest = take_turns(Odd("odd"), FakeWorker("honest"))
    assert odd.failure.status is status
    assert told in odd.failure.reason
    assert odd.rounds_us == []
    assert honest.failure is None


def test_who_computes_only_where_its_result_was_erased_is_found_out(take_turns):
    """In one round some values are new and the old result is still there."""

    class Lazy(FakeWorker):
        def replay(self, count, poison=None, late=None):
            old = getattr(self, "results", None)
            answer = super().replay(count, poison, late)
            erased = poison is not None or (late and late["poison"] is not None)
            if not erased and old is not None:
                self.results = old
            return answer

    lazy, honest = take_turns(Lazy("lazy"), FakeWorker("honest"))
    assert lazy.failure.status is Status.STALE_RESULT
    assert "some of them new" in lazy.failure.reason
    assert honest.failure is None


def test_some_values_are_new_and_one_at_least():
    """However few are wanted of a small argument; a number that is no tensor is new as a whole."""
    old, new = torch.zeros(8, 64), torch.ones(8, 64)
    assert rounds._mixed(old, new, 0.0).sum() == 1
    assert 128 < rounds._mixed(old, new, 0.5).sum() < 384
    assert rounds._mixed(1.0, 2.0, 0.5) == 2.0


def test_who_computes_only_where_a_sample_of_its_input_is_new_is_found_out(take_turns, monkeypatch):
    """A round changes some of the values, so that a sample of a few can stay as it was."""
    # of a half, all eight in the sample may be new; of a thousandth, none outside of it
    monkeypatch.setattr(rounds, "MIXED_SHARES", (0.1,))

    class Sampling(FakeWorker):
        def compute(self):
            made = super().compute()
            firsts = [
                self.arena.view(item["offset"], item["shape"], item["dtype"])[:, 0].clone()
                for (item,) in self._sets
            ]
            if hasattr(self, "firsts"):
                for index, (known, first) in enumerate(zip(self.firsts, firsts, strict=True)):
                    same = (known == first).unsqueeze(1)
                    made[index] = torch.where(same, self.made[index], made[index])
            self.firsts, self.made = firsts, made
            return made

    sampling, honest = take_turns(Sampling("sampling"), FakeWorker("honest"))
    assert sampling.failure.status is Status.STALE_RESULT
    assert honest.failure is None


def test_open_verdict_has_more_rounds_up_to_the_maximum(take_turns):
    """Rounds are added while noise leaves the side of the margin open, and then no more."""
    noise = np.random.default_rng(0)

    class Noisy(FakeWorker):
        def replay(self, count, poison=None, late=None):
            self.call_us = 101 * noise.uniform(0.95, 1.05)
            return super().replay(count, poison, late)

    protocol = dataclasses.replace(PROTOCOL, rounds=20, max_rounds=35)
    lanes = take_turns(Noisy("noisy"), reference(), protocol=protocol)
    assert [lane.failure for lane in lanes] == [None, None]
    assert [len(lane.rounds_us) for lane in lanes] == [35, 35]
    assert len(take_turns.log.samples) == 35


@pytest.mark.parametrize("call_us", [80, 100, 100.5, 140])
def test_settled_verdict_has_no_more_rounds(take_turns, call_us):
    """A ratio that is clearly beyond the margin, or clearly within, costs nobody more time."""
    protocol = dataclasses.replace(PROTOCOL, rounds=20, max_rounds=100)
    lanes = take_turns(FakeWorker("a", call_us), reference(), protocol=protocol)
    assert [len(lane.rounds_us) for lane in lanes] == [20, 20]


def test_rounds_are_added_for_an_open_verdict_alone(take_turns):
    """Whom the verdict is settled against has no more turns, and the others' stay paired."""
    noise = np.random.default_rng(0)

    class Noisy(FakeWorker):
        def replay(self, count, poison=None, late=None):
            self.call_us = 101 * noise.uniform(0.95, 1.05)
            return super().replay(count, poison, late)

    protocol = dataclasses.replace(PROTOCOL, rounds=20, max_rounds=30)
    slow = reference(300.0)
    slow.implementation = dataclasses.replace(slow.implementation, name="slow")
    lanes = take_turns(Noisy("noisy"), reference(), slow, protocol=protocol)
    assert [lane.failure for lane in lanes] == [None] * 3
    assert [len(lane.rounds_us) for lane in lanes] == [30, 30, 20]
    assert len(take_turns.log.samples) == 30


def test_rounds_that_are_added_are_verified_too(take_turns):
    """Who knows how many rounds are always taken cannot be idle in those after them."""
    noise = np.random.default_rng(0)

    class LaterIdle(FakeWorker):
        def replay(self, count, poison=None, late=None):
            self.call_us = 101 * noise.uniform(0.95, 1.05)
            return super().replay(count, poison, late)

        def compute(self):
            if self.commands.count("replay") <= BEFORE_ROUNDS + 20 + VERIFIED:
                self.first = super().compute()
            return self.first

    protocol = dataclasses.replace(PROTOCOL, rounds=20, max_rounds=60)
    idle, honest = take_turns(LaterIdle("idle"), reference(), protocol=protocol)
    assert idle.failure.status is Status.STALE_RESULT
    assert len(idle.rounds_us) > 20
    assert honest.failure is None


def test_round_of_an_unsteady_gpu_is_taken_again(take_turns):
    """All lanes take it again, in its place, and the log tells of it."""
    # before all rounds, after each that counts, and after the one that is verified: the last
    throttled = iter([False] * (PROTOCOL.rounds + 1) + [True] + [False] * 100)

    class Throttled(Steady):
        def read(self):
            reasons = ("hw_thermal_slowdown",) if next(throttled) else ()
            return dataclasses.replace(super().read(), reasons=reasons)

    protocol = dataclasses.replace(PROTOCOL, clock=Clock.HOST)
    lanes = take_turns(FakeWorker("a"), FakeWorker("b"), protocol=protocol, clocks=Throttled())
    bursts = [name for name, command, _ in lanes[0].worker.journal if command == "time_burst"]
    assert len(bursts) == 2 * (PROTOCOL.rounds + 2)
    assert [len(lane.rounds_us) for lane in lanes] == [PROTOCOL.rounds] * 2
    log = take_turns.log
    assert (log.size, log.measured_again, log.unsteady) == (SIZE, 1, ())
    assert [one.reasons for one in log.samples] == [()] * PROTOCOL.rounds


def test_time_of_a_verified_round_does_not_count(take_turns):
    """Values are changed within it, which takes a while and is no part of a call."""

    class Slow(FakeWorker):
        def replay(self, count, poison=None, late=None):
            answer = super().replay(count, poison, late)
            return {"elapsed_us": answer["elapsed_us"] * (1 if late is None else 3)}

    late = []

    class Noting(Slow):
        def call(self, command, timeout_s, **fields):
            late.append(fields.get("late") is not None)
            return super().call(command, timeout_s, **fields)

    slow, honest = take_turns(Noting("a"), FakeWorker("b"))
    assert sum(late) == 2
    assert (slow.failure, honest.failure) == (None, None)
    assert max(slow.rounds_us) == pytest.approx(min(slow.rounds_us))
    assert len(slow.rounds_us) == PROTOCOL.rounds


def test_burst_that_took_longer_than_it_tells_is_a_mismatch(take_turns):
    """The original study's clock is the worker's own; the referee's bounds what it can hide."""

    class Hiding(FakeWorker):
        def time_burst(self, count):
            return {"elapsed_us": super().time_burst(count)["elapsed_us"] * 0.2}

    protocol = dataclasses.replace(PROTOCOL, clock=Clock.HOST, host_calls=100)
    hiding, honest = take_turns(Hiding("a", 1000.0), FakeWorker("b", 1000.0), protocol=protocol)
    assert hiding.failure.status is Status.CLOCK_MISMATCH
    assert "told of" in hiding.failure.reason
    assert honest.failure is None


@pytest.mark.parametrize("clock", [Clock.HOST, Clock.EVENTS, Clock.GRAPH])
def test_one_hiccup_of_the_host_is_no_mismatch(take_turns, clock):
    """Something else on the host can come between two clocks in one round, or in one burst."""

    class Hiccup(FakeWorker):
        def time_burst(self, count):
            if self.commands.count("time_burst") == 3:
                CLOCK.now_s += 1.0
            return super().time_burst(count)

        def time_events(self, count):
            late_us = 1e6 if self.commands.count("time_events") == 3 else 2.0
            return super().time_events(count) | {"late_us": late_us}

        def time_host(self, count):
            if self.commands.count("time_host") == 1:
                CLOCK.now_s += 1.0
            return super().time_host(count)

    protocol = dataclasses.replace(PROTOCOL, clock=clock)
    hiccup, honest = take_turns(Hiccup("a"), FakeWorker("b"), protocol=protocol)
    assert (hiccup.failure, honest.failure) == (None, None)
    assert len(hiccup.rounds_us) == PROTOCOL.rounds
    if clock is not Clock.HOST:
        assert hiccup.host_us == honest.host_us
        assert hiccup.worker.commands.count("time_host") == 2


def test_there_is_room_for_events_where_a_graph_cannot_be_captured():
    """They have more sets than a graph of large calls has, and take its place."""
    large = SPEC.size((4096, 4096))
    graph = dataclasses.replace(PROTOCOL, clock=Clock.GRAPH)
    events = dataclasses.replace(PROTOCOL, clock=Clock.EVENTS)
    assert timing.set_count(SPEC, large, "float32", graph, GPU) == 2
    assert timing.set_count(SPEC, large, "float32", events, GPU) == timing.EVENT_SETS
    for protocol in (graph, events):
        sets = timing.set_count(SPEC, large, "float32", events, GPU)
        assert timing.most_sets(SPEC, large, "float32", protocol, GPU) >= sets + 1
    small = timing.set_count(SPEC, SPEC.size((1, 64)), "float32", graph, GPU)
    assert timing.most_sets(SPEC, SPEC.size((1, 64)), "float32", graph, GPU) == small + 1


def test_graph_is_verified_on_every_set(take_turns):
    """A graph that leaves out a part of one set is found out, whichever that is."""

    class Partial(FakeWorker):
        def compute(self):
            made = super().compute()
            made[self.place][0] = 0
            return made

    for place in range(SETS):
        worker = Partial("partial")
        worker.place = place
        partial, honest = take_turns(worker, FakeWorker("honest"))
        assert partial.failure.status is Status.STALE_RESULT
        assert "a captured call" in partial.failure.reason
        assert honest.failure is None


def test_who_works_only_after_a_pause_is_found_out(take_turns):
    """New values come between two replays: the first of a request says nothing of the others."""

    class FirstOnly(FakeWorker):
        def replay(self, count, poison=None, late=None):
            first = self.compute()
            answer = super().replay(count, poison, late)
            # what the first replay made stays: the others did nothing
            self.results = first
            return answer

    lazy, honest = take_turns(FirstOnly("lazy"), FakeWorker("honest"))
    assert lazy.failure.status is Status.STALE_RESULT
    assert "some of them new" in lazy.failure.reason
    assert honest.failure is None


def test_idle_host_calls_are_stale(take_turns):
    """What an eager call makes while the host's clock runs is verified too."""

    class Lazy(FakeWorker):
        def time_host(self, count):
            before = self.results
            answer = super().time_host(count)
            self.results = before
            return answer

    lazy, honest = take_turns(Lazy("lazy"), FakeWorker("honest"))
    assert lazy.failure.status is Status.STALE_RESULT
    assert "a host-timed call" in lazy.failure.reason
    assert honest.failure is None


def test_work_after_the_events_of_a_call_is_a_mismatch(take_turns):
    """Where a graph cannot be captured, the GPU must be at rest when a call's events say so."""

    class Aside(FakeWorker):
        def time_events(self, count):
            return super().time_events(count) | {"late_us": 40.0 * count}

    protocol = dataclasses.replace(PROTOCOL, clock=Clock.EVENTS)
    workers = [Aside("aside"), FakeWorker("honest")]
    for worker in workers:
        worker.arena.close()
        size_bytes = lay_out(SPEC, SIZE, "float32", timing.EVENT_SETS + 1).size_bytes
        worker.arena = Arena(size_bytes, "cpu")
    aside, honest = take_turns(*workers, protocol=protocol)
    assert aside.failure.status is Status.CLOCK_MISMATCH
    assert "had ended by their events" in aside.failure.reason
    assert honest.failure is None


class Busy:
    """A GPU on which something goes on until a time, whatever it does to a call meanwhile."""

    def __init__(self, factor=1.0, wait_us=0.0):
        self.until_s, self.factor, self.wait_us = 0.0, factor, wait_us


class Queueing(FakeWorker):
    """Leaves work behind each of its turns, which goes on when its process is stopped."""

    def __init__(self, name, busy, left_us):
        super().__init__(name)
        self.busy, self.left_us = busy, left_us

    def replay(self, count, poison=None, late=None):
        answer = super().replay(count, poison, late)
        self.busy.until_s = CLOCK.now_s + self.left_us / 1e6
        return answer


class Sharing(FakeWorker):
    """A reference that has what another leaves of the GPU."""

    def __init__(self, name, busy, role):
        super().__init__(name)
        self.busy = busy
        self.usual_us = 100.0
        self.implementation = dataclasses.replace(self.implementation, role=role)

    def replay(self, count, poison=None, late=None):
        is_busy = CLOCK.now_s < self.busy.until_s
        self.call_us = self.usual_us * (self.busy.factor if is_busy else 1.0)
        CLOCK.now_s += self.busy.wait_us / 1e6 if is_busy else 0.0
        return super().replay(count, poison, late)


@pytest.mark.parametrize(
    ("busy", "left_us", "others"),
    [
        ((2.0, 0.0), 3_000, 0),
        ((2.0, 1_100.0), 3_000, 0),
        ((2.0, 1_100.0), 3_000, 3),
        # so long that it is there in turns that are taken alone, unless they come much later
        ((2.0, 1_100.0), 30_000, 0),
        ((2.0, 1_100.0), 30_000, 3),
        ((2.0, 1_100.0), 100_000, 0),
        ((2.0, 1_100.0), 100_000, 3),
        ((1.0, 1_100.0), 3_000, 0),
        ((1.0, 1_100.0), 3_000, 3),
        ((1.0, 1_100.0), 100_000, 0),
        ((1.0, 1_100.0), 100_000, 3),
    ],
)
def test_who_leaves_work_behind_its_turns_is_tampering(take_turns, busy, left_us, others):
    """Whether others are slower for it or only begin late, and whoever comes next."""
    gpu = Busy(*busy)
    workers = [Queueing("greedy", gpu, left_us), Sharing("baseline", gpu, Role.BASELINE)]
    workers += [Sharing(f"other {number}", gpu, Role.CONTENDER) for number in range(others)]
    protocol = dataclasses.replace(PROTOCOL, rounds=20, window_us=800.0)
    greedy, *rest = take_turns(*workers, protocol=protocol)
    assert greedy.failure.status is Status.TAMPERING
    assert "went on after its turn" in greedy.failure.reason
    assert {lane.failure for lane in rest} == {None}


@pytest.mark.parametrize("others", [0, 3])
def test_late_turns_of_long_replays_are_nobodys(take_turns, others):
    """Their first replay is not as long each time, which a wait cannot be told from."""
    gpu = Busy(1.0, 1_100.0)
    workers = [Queueing("mine", gpu, 3_000), Sharing("baseline", gpu, Role.BASELINE)]
    workers += [Sharing(f"other {number}", gpu, Role.CONTENDER) for number in range(others)]
    for worker in workers:
        worker.usual_us = 5_000.0
    protocol = dataclasses.replace(PROTOCOL, rounds=20, window_us=800.0)
    lanes = take_turns(*workers, protocol=protocol)
    assert {lane.failure for lane in lanes} == {None}


@pytest.mark.parametrize("others", [0, 3])
def test_wait_that_is_no_longer_than_usual_is_nobodys(take_turns, others):
    """A switch takes its time."""
    gpu = Busy(1.0, 400.0)
    workers = [Queueing("mine", gpu, 3_000), Sharing("baseline", gpu, Role.BASELINE)]
    workers += [Sharing(f"other {number}", gpu, Role.CONTENDER) for number in range(others)]
    lanes = take_turns(*workers, protocol=dataclasses.replace(PROTOCOL, rounds=20))
    assert {lane.failure for lane in lanes} == {None}


@pytest.mark.parametrize(
    ("claimed", "checked", "told"),
    [(0.6, 2 * clock_checks.CLOCK_TRIES, "1.1 times as long"), (0.88, 14, "1.1 times as long")],
)
def test_clock_that_lies_only_in_the_rounds_is_a_mismatch(take_turns, claimed, checked, told):
    """What the rounds hid is held against what the check showed."""

    class Rounds(FakeWorker):
        def replay(self, count, poison=None, late=None):
            answer = super().replay(count, poison, late)
            # no count tells a round from the check, but this fake knows when that comes
            after = self.commands.count("replay") - (BEFORE_ROUNDS + 20 + VERIFIED)
            if not 1 <= after <= checked:
                answer["elapsed_us"] *= claimed
            return answer

    liar, honest = take_turns(
        Rounds("liar"), FakeWorker("honest"), protocol=dataclasses.replace(PROTOCOL, rounds=20)
    )
    assert liar.failure.status is Status.CLOCK_MISMATCH
    assert told in liar.failure.reason
    assert honest.failure is None


def test_rounds_that_take_longer_than_they_tell_are_a_mismatch(take_turns):
    """As where a part of the work is done before the events, and no more than a part."""

    class Rounds(FakeWorker):
        def replay(self, count, poison=None, late=None):
            answer = super().replay(count, poison, late)
            after = self.commands.count("replay") - (BEFORE_ROUNDS + 20 + VERIFIED)
            if after not in {1, 2}:
                CLOCK.now_s += 0.3 * answer["elapsed_us"] / 1e6
            return answer

    liar, honest = take_turns(
        Rounds("liar"), reference(), protocol=dataclasses.replace(PROTOCOL, rounds=20)
    )
    assert liar.failure.status is Status.CLOCK_MISMATCH
    assert "20% are allowed" in liar.failure.reason
    assert honest.failure is None


def test_constant_that_is_taken_off_each_time_is_a_mismatch(take_turns):
    """It cancels where two counts are compared, and shows where few replays are held against it."""

    class Constant(FakeWorker):
        def replay(self, count, poison=None, late=None):
            answer = super().replay(count, poison, late)
            return {"elapsed_us": answer["elapsed_us"] - 300.0}

    protocol = dataclasses.replace(PROTOCOL, rounds=20, window_us=800.0)
    liar, honest = take_turns(Constant("liar"), reference(), protocol=protocol)
    assert liar.failure.status is Status.CLOCK_MISMATCH
    assert "1.1 times as long" in liar.failure.reason
    assert honest.failure is None


class Late(FakeWorker):
    """Honest; what a request takes beside its replays is longer for the first few of them."""

    late_us = 50_000

    def __init__(self, name, requests, role=Role.CANDIDATE):
        super().__init__(name)
        self.requests = requests
        self.implementation = dataclasses.replace(self.implementation, role=role)

    def replay(self, count, poison=None, late=None):
        answer = super().replay(count, poison, late)
        if self.commands.count("replay") <= self.requests:
            CLOCK.now_s += self.late_us / 1e6
        return answer


AT_FIRST = BEFORE_ROUNDS + 20 + VERIFIED


@pytest.mark.parametrize(
    ("requests", "of_baseline"),
    [
        pytest.param(AT_FIRST, AT_FIRST, id="all-alike"),
        pytest.param(AT_FIRST, 0, id="not-again"),
        pytest.param(10_000, 0, id="in-the-check-too"),
    ],
)
def test_switches_that_take_long_are_no_mismatch(take_turns, requests, of_baseline):
    """What is slow for all alike, or once, or where the clock is checked too, hides nothing."""
    protocol = dataclasses.replace(PROTOCOL, rounds=20)
    mine, baseline = take_turns(
        Late("mine", requests),
        Late("baseline", of_baseline, Role.BASELINE),
        protocol=protocol,
    )
    assert mine.failure is None
    assert baseline.failure is None
    assert len(mine.rounds_us) == 20


class Interrupted(FakeWorker):
    """Has the GPU taken away for a while in some of its replays, which both clocks see."""

    def __init__(self, name, is_interrupted, factor, role=Role.CANDIDATE):
        super().__init__(name)
        self.is_interrupted, self.factor = is_interrupted, factor
        self.implementation = dataclasses.replace(self.implementation, role=role)

    def replay(self, count, poison=None, late=None):
        number = self.commands.count("replay")
        try:
            self.call_us *= self.factor if self.is_interrupted(number, count) else 1
            return super().replay(count, poison, late)
        finally:
            self.call_us = 100.0


def test_one_interruption_of_the_check_is_no_mismatch(take_turns):
    """Another program's turn on the GPU may fall into the check, and it is tried again."""
    (lane,) = take_turns(
        Interrupted("a", lambda number, _: number == BEFORE_ROUNDS + 20 + VERIFIED + 2, 1.5),
        protocol=dataclasses.replace(PROTOCOL, rounds=20),
    )
    assert lane.failure is None
    assert lane.worker.commands.count("replay") == BEFORE_ROUNDS + 20 + VERIFIED + 4


# replays of 300 us in a round of 2 ms, with jitter
LONGEST_TURN = 9


def long_requests_take_longer():
    """A candidate whose rounds are as fast as ever, and whose long requests are not."""
    return Interrupted("mine", lambda _, count: count > LONGEST_TURN, 1.5)


def test_who_is_slower_over_a_span_lies(take_turns):
    """Where nothing else has the GPU work, what is checked takes as long as what is timed."""
    mine, other = take_turns(long_requests_take_longer(), reference())
    assert mine.failure.status is Status.CLOCK_MISMATCH
    assert "1.1 times" in mine.failure.reason
    assert other.failure is None


@pytest.mark.parametrize("looks", [0, 1], ids=["after-the-rounds", "where-it-is-accused"])
def test_nobody_is_accused_beside_another_program(take_turns, monkeypatch, looks):
    """Its turns on the GPU may come between long requests alone."""
    seen = itertools.count()
    slowdown = lambda self: 1.0 if next(seen) < looks else 2.1  # noqa: E731
    monkeypatch.setattr(quiet.Probe, "slowdown", slowdown)
    monkeypatch.setattr(timing, "DISTURBED_TRIES", 1)
    with pytest.raises(DisturbedError, match=r"took 2.10 times as long over 8 ms as over 0.4 ms"):
        take_turns(long_requests_take_longer(), reference())


def test_times_beside_another_program_are_taken_again(take_turns, monkeypatch):
    """Until it has ended; what was timed beside it counts for nobody."""
    found = iter([2.1] * (1 + quiet.LOOKS) + [1.0])
    monkeypatch.setattr(quiet.Probe, "slowdown", lambda self: next(found))
    mine, other = take_turns(FakeWorker("mine"), reference())
    assert (mine.failure, other.failure) == (None, None)
    assert mine.worker.commands.count("capture") == 2
    assert len(mine.rounds_us) == PROTOCOL.rounds


def test_what_is_over_after_a_rest_is_not_another_programs(take_turns, monkeypatch):
    """The candidate began it, and stands still meanwhile."""
    found = iter([2.1, 2.1, 1.05, 2.1])
    monkeypatch.setattr(quiet.Probe, "slowdown", lambda self: next(found))
    mine, _ = take_turns(FakeWorker("mine"), reference())
    assert mine.failure is None
    assert mine.worker.commands.count("capture") == 1


def test_candidate_is_not_accused_by_clocks_that_disagree_of_the_baseline_too(take_turns):
    """It is the machine then, and nothing is said of the candidate."""
    baseline = FakeWorker("baseline", claimed=0.5)
    baseline.implementation = dataclasses.replace(baseline.implementation, role=Role.BASELINE)
    with pytest.raises(DisturbedError, match="of baseline, which is known"):
        take_turns(FakeWorker("mine", claimed=0.5), baseline)


def test_reference_that_ends_where_the_machine_is_checked_keeps_its_failure(take_turns):
    """The candidate's is its own: that its clock lies."""
    # of a contender nothing is verified
    before = timing.COUNT_TRIES + PROTOCOL.rounds
    other = Failing("other", "replay", before, alive=False)
    other.implementation = dataclasses.replace(other.implementation, role=Role.CONTENDER)
    liar, other = take_turns(FakeWorker("liar", claimed=0.5), other)
    assert liar.failure.status is Status.CLOCK_MISMATCH
    assert other.failure.status is Status.CRASHED


def test_candidate_that_ends_where_rounds_are_taken_anew_has_crashed(take_turns):
    """Rounds without times are no mismatch of clocks."""

    class Ending(Late):
        def replay(self, count, poison=None, late=None):
            if self.commands.count("replay") > AT_FIRST + 5:
                raise WorkerFailedError(Status.CRASHED, "ended")
            return super().replay(count, poison, late)

    ending, other = take_turns(
        Ending("ending", AT_FIRST), reference(), protocol=dataclasses.replace(PROTOCOL, rounds=20)
    )
    assert ending.failure.status is Status.CRASHED
    assert other.failure is None


@pytest.mark.parametrize("clock", [Clock.EVENTS, Clock.HOST])
def test_doubts_that_are_the_references_too_are_nobodys_lie(take_turns, clock):
    """On a host where nothing is on time."""

    class Slow(FakeWorker):
        def time_events(self, count):
            return super().time_events(count) | {"late_us": 30.0 * count}

        def time_burst(self, count):
            answer = super().time_burst(count)
            CLOCK.now_s += 0.1
            return answer

    baseline = Slow("baseline")
    baseline.implementation = dataclasses.replace(baseline.implementation, role=Role.BASELINE)
    protocol = dataclasses.replace(PROTOCOL, clock=clock, rounds=20)
    lanes = take_turns(Slow("mine"), baseline, protocol=protocol)
    assert [lane.failure for lane in lanes] == [None, None]


def test_who_failed_is_not_asked_again_where_times_are_taken_again(take_turns):
    """Its process may be gone, and what it did is known."""
    turns = BEFORE_ROUNDS + PROTOCOL.rounds + VERIFIED
    baseline = Interrupted(
        "baseline", lambda number, _: BEFORE_ROUNDS < number <= turns, 1.2, Role.BASELINE
    )
    other = Failing("other", "replay", 5, alive=False)
    other.implementation = dataclasses.replace(other.implementation, role=Role.CONTENDER)
    mine, baseline, other = take_turns(FakeWorker("mine"), baseline, other)
    assert (mine.failure, baseline.failure) == (None, None)
    assert other.failure.status is Status.CRASHED
    assert other.worker.asked.count("capture") <= 2


def test_candidate_stands_still_when_it_is_anothers_turn(take_turns):
    """In the rounds and where the host's clock times others: nothing is its to do there."""
    baseline = FakeWorker("baseline")
    baseline.implementation = dataclasses.replace(baseline.implementation, role=Role.BASELINE)
    mine = FakeWorker("mine")
    lanes = take_turns(mine, baseline)
    assert [lane.failure for lane in lanes] == [None, None]
    is_stopped, began, seen = False, False, []
    for name, what, _ in mine.journal:
        if what in {"stopped", "continued"}:
            is_stopped, began = what == "stopped", True
        elif began and what in {"replay", "time_host"}:
            seen.append((name, is_stopped))
    assert set(seen) == {("mine", False), ("baseline", True)}
    assert len(seen) > PROTOCOL.rounds


@pytest.mark.parametrize("times", [1, timing.DISTURBED_TRIES - 1, timing.DISTURBED_TRIES])
def test_rounds_in_which_another_program_had_the_gpu_count_for_nobody(take_turns, times):
    """The candidate is not accused of it, and has no speed-up over a baseline that was slow."""
    turns = BEFORE_ROUNDS + PROTOCOL.rounds + VERIFIED
    all_of_one = turns + alone_checks.TURNS + 3 * alone_checks.CLOSE_TURNS

    def is_disturbed(number, _):
        begun, number = divmod(number - 1, all_of_one)
        return begun < times and BEFORE_ROUNDS <= number < turns

    baseline = Interrupted("baseline", is_disturbed, 1.2, Role.BASELINE)
    mine = FakeWorker("mine")
    if times == timing.DISTURBED_TRIES:
        with pytest.raises(DisturbedError, match=r"took 120\.\d\d us in the rounds and 100"):
            take_turns(mine, baseline)
    else:
        mine, baseline = take_turns(mine, baseline)
        assert baseline.median_us == pytest.approx(100, rel=0.01)
        assert (mine.failure, baseline.failure) == (None, None)


@pytest.mark.parametrize("after", [1, BEFORE_ROUNDS, BEFORE_ROUNDS + 5, BEFORE_ROUNDS + 10])
def test_baseline_that_fails_ends_the_evaluation(take_turns, after):
    """Nobody is judged without it: neither by its absence nor for its failure."""
    baseline = Failing("baseline", "replay", after, alive=False)
    baseline.implementation = dataclasses.replace(baseline.implementation, role=Role.BASELINE)
    with pytest.raises(ReferenceFailedError, match="while it was timed: replay failed"):
        take_turns(FakeWorker("mine"), baseline)


def test_interruption_where_replays_are_counted_changes_no_graph(take_turns):
    """One observation decides how much is in a graph, and it is the least of some."""
    mine, other = take_turns(
        Interrupted("a", lambda number, _: number == 1, 40.0), FakeWorker("b", 100.0)
    )
    assert (mine.calls, mine.count) == (other.calls, other.count)


def test_host_time_beyond_what_the_request_took_is_a_mismatch(take_turns):
    """A host clock that runs slow tells of less than went by."""

    class Slow(FakeWorker):
        def time_host(self, count):
            return {"times_us": [1.0] * len(super().time_host(count)["times_us"])}

    slow, honest = take_turns(Slow("slow", 5000), FakeWorker("honest"))
    assert slow.failure.status is Status.CLOCK_MISMATCH
    assert "told of 3 us" in slow.failure.reason
    assert honest.failure is None


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"replaced": ["torch.cuda.Event.elapsed_time"]}, "torch.cuda.Event.elapsed_time"),
        ({"persisting_l2_bytes": 1 << 20}, "1,048,576 bytes of the L2"),
        ({"replaced": None}, "replaced"),
    ],
    ids=["clock", "cache", "no-list"],
)
def test_what_was_replaced_or_set_aside_is_tampering(take_turns, answer, told):
    """The worker tells at the end of a size what is no longer as it was."""

    class Odd(FakeWorker):
        def release(self):
            return super().release() | answer

    odd, honest = take_turns(Odd("odd"), FakeWorker("honest"))
    assert odd.failure.status is Status.TAMPERING
    assert told in odd.failure.reason
    assert honest.failure is None


class Threaded(FakeWorker):
    """Has a thread that runs for a while in each turn."""

    def __init__(self, name, turn_us, role=Role.CANDIDATE):
        super().__init__(name)
        self.turn_us = turn_us
        self.implementation = dataclasses.replace(self.implementation, role=role)

    def replay(self, count, poison=None, late=None):
        self.ran_us += self.turn_us
        return super().replay(count, poison, late)


@pytest.mark.parametrize(
    ("candidate_us", "baseline_us", "is_found"),
    [(0, 0, False), (495, 0, False), (505, 0, True), (2000, 0, True), (2000, 1600, False)],
)
def test_threads_that_work_beside_replays_are_tampering(
    take_turns, candidate_us, baseline_us, is_found
):
    """Unless the baseline's do so too: then it is what the machine does in each process."""
    lanes = take_turns(
        Threaded("mine", candidate_us), Threaded("baseline", baseline_us, Role.BASELINE)
    )
    assert [lane.failure is not None for lane in lanes] == [is_found, False]
    if is_found:
        assert lanes[0].failure.status is Status.TAMPERING
        assert f"were busy for {candidate_us} us" in lanes[0].failure.reason


@pytest.mark.parametrize(
    ("before_us", "after_us", "expected_us"),
    [
        ({}, {}, 0),
        ({1: 5.0, 2: 7.0}, {1: 5.0, 2: 7.0}, 0),
        ({1: 5.0, 2: 7.0}, {1: 105.0, 2: 107.0}, 200),
        ({1: 5.0}, {1: 5.0, 2: 0.0}, 1500),
        ({1: 5.0, 2: 9.0}, {1: 5.0}, 1500),
        ({1: 5.0}, {2: 5.0}, 1500),
    ],
    ids=["none", "idle", "busy", "came", "went", "relay"],
)
def test_what_threads_ran_in_a_turn_adds_up(before_us, after_us, expected_us):
    """And it is all of a turn where one began or ended in it, since nobody tells of that one."""
    assert thread_checks.busy_us(before_us, after_us, 1500) == expected_us


def test_a_thread_that_ran_once_is_nobodys(take_turns):
    """Most turns decide."""

    class Once(Threaded):
        def replay(self, count, poison=None, late=None):
            if self.commands.count("replay") == BEFORE_ROUNDS + 2:
                self.ran_us += 5_000
            return super().replay(count, poison, late)

    (lane,) = take_turns(Once("mine", 0))
    assert lane.failure is None
    assert max(lane.threads_us) > 4_000


def test_threads_that_work_in_the_rounds_alone_are_the_machines(take_turns):
    """What an honest process is disturbed by once is not there when rounds are taken anew."""

    class Disturbed(Threaded):
        def replay(self, count, poison=None, late=None):
            disturbed = self.commands.count("replay") <= BEFORE_ROUNDS + VERIFIED + PROTOCOL.rounds
            self.ran_us += 5_000 if disturbed else 0
            return super().replay(count, poison, late)

    mine, baseline = take_turns(Disturbed("mine", 0), Threaded("baseline", 0, Role.BASELINE))
    assert [mine.failure, baseline.failure] == [None, None]
    assert len(mine.threads_us) == PROTOCOL.rounds
    assert max(mine.threads_us) == 0


def test_graph_is_verified_on_every_distribution(take_turns):
    """A shortcut that is right on ordinary values is found out before anything is timed."""
    sloppy, honest = take_turns(Sloppy("sloppy"), FakeWorker("honest"))
    assert sloppy.failure.status is Status.STALE_RESULT
    assert "a captured call on large values" in sloppy.failure.reason
    assert sloppy.rounds_us == []
    assert honest.failure is None


def test_results_of_earlier_values_are_stale(take_turns):
    """A lane that does nothing when timed has the wrong results on fresh values."""
    idle, honest = take_turns(Idle("idle"), FakeWorker("honest"))
    assert idle.failure.status is Status.STALE_RESULT
    assert "float64 gives" in idle.failure.reason
    assert honest.failure is None


def test_copy_of_a_result_is_there_before_the_worker_writes_the_next(take_turns, monkeypatch):
    """On a busy GPU the copy waits, and would be one of another call's result."""
    worker = FakeWorker("a")
    worker.journal = journal = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: journal.append("waited"))
    take_turns(worker)
    followers = [after for item, after in itertools.pairwise(journal) if item[1] == "export"]
    assert len(followers) > SETS
    assert set(followers) == {"waited"}


def test_result_that_cannot_be_read_is_stale(take_turns):
    """A timed call that leaves no result of the right form is no timed call."""

    class Empty(FakeWorker):
        def export(self, index, outputs):
            return {"copied": False}

    (lane,) = take_turns(Empty("empty"))
    assert lane.failure.status is Status.STALE_RESULT
    assert SIZE.label in lane.failure.reason


def test_values_of_a_verified_round_are_gone_before_its_results_are_asked_for(take_turns):
    """Who computes only when its results are read finds other values than it was timed on."""

    class Late(FakeWorker):
        def export(self, index, outputs):
            self.results = self.compute()
            return super().export(index, outputs)

    (lane,) = take_turns(Late("late"))
    assert lane.failure.status is Status.STALE_RESULT


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "fast", None, [1]])
def test_time_that_is_none_is_tampering(take_turns, value):
    """What a worker claims as a time is a positive number, or it is not believed at all."""

    class Odd(FakeWorker):
        def replay(self, count, poison=None, late=None):
            super().replay(count, poison, late)
            return {"elapsed_us": value}

    odd, honest = take_turns(Odd("odd"), FakeWorker("honest"))
    assert odd.failure.status is Status.TAMPERING
    assert honest.failure is None


@pytest.mark.parametrize("answer", [{}, {"times_us": None}, {"times_us": ["x"]}, {"times_us": []}])
def test_odd_host_times_are_tampering(take_turns, answer):
    """Host times are checked like the others."""

    class Odd(FakeWorker):
        def time_host(self, count):
            return answer

    (lane,) = take_turns(Odd("odd"))
    assert lane.failure.status is Status.TAMPERING


@pytest.mark.parametrize("answer", [{}, {"calls": None}, {"calls": 0}, {"calls": 4 * SETS}])
def test_claimed_number_of_captured_calls_changes_nothing(take_turns, answer):
    """How many calls a graph holds is known: a claim of more would divide the time."""

    class Odd(FakeWorker):
        def capture(self, sets, passes):
            return super().capture(sets, passes) | answer

    odd, honest = take_turns(Odd("odd"), FakeWorker("honest"))
    assert odd.failure is None
    assert odd.calls == honest.calls
    assert odd.median_us == pytest.approx(honest.median_us, rel=0.1)


def test_what_cannot_be_captured_is_told_by_name(take_turns):
    """All are then to be timed by events, and it is said because of whom."""
    with pytest.raises(timing.CannotCaptureError, match="sync: capture failed") as caught:
        take_turns(FakeWorker("a"), Failing("sync", "capture", 0, Status.RUNTIME_ERROR))
    assert len(caught.value.failures) == 1


def test_crash_in_the_capture_is_a_failure_of_its_lane(take_turns):
    """Only an error that the worker survives says that a capture is not possible."""
    broken, honest = take_turns(
        Failing("broken", "capture", 0, Status.CRASHED, alive=False), FakeWorker("honest")
    )
    assert broken.failure.status is Status.CRASHED
    assert honest.failure is None


def test_events_time_whole_rotations_and_mark_the_clock(take_turns):
    """By events each of the sets is called equally often, and no graph is asked for."""
    protocol = dataclasses.replace(PROTOCOL, clock=Clock.EVENTS)
    sets = timing.set_count(SPEC, SIZE, "float32", protocol, GPU)
    worker = FakeWorker("a", 50)
    worker.arena.close()
    worker.arena = Arena(lay_out(SPEC, SIZE, "float32", sets + 1).size_bytes, "cpu")
    (lane,) = take_turns(worker, protocol=protocol)
    assert lane.failure is None
    assert lane.clock is Clock.EVENTS
    assert lane.median_us == pytest.approx(50, rel=0.01)
    assert "capture" not in worker.commands
    counts = [count for _, command, count in worker.journal if command == "time_events"]
    assert all(count % sets == 0 for count in counts)


@pytest.mark.parametrize(
    ("clock", "cold_factor", "expected"),
    [(Clock.HOST, 4.0, 1), (Clock.EVENTS, 4.0, timing.EVENT_SETS), (Clock.GRAPH, 4.0, SETS)],
)
def test_number_of_sets_follows_the_clock(clock, cold_factor, expected):
    """A graph rotates through several times the L2; the host's clock has one warm set."""
    protocol = dataclasses.replace(PROTOCOL, clock=clock, cold_factor=cold_factor)
    assert timing.set_count(SPEC, SIZE, "float32", protocol, GPU) == expected


def test_number_of_sets_has_bounds():
    """There are always two sets to alternate, and never more than can be captured quickly."""
    count = lambda l2, size: timing.set_count(  # noqa: E731
        SPEC, SPEC.size(size), "float32", PROTOCOL, dataclasses.replace(GPU, l2_bytes=l2)
    )
    assert count(1 << 20, (4096, 4096)) == 2
    assert count(50 << 20, (1, 1)) == timing.MAX_SETS
    cold = count(50 << 20, (1024, 1024)) * SPEC.call_bytes(SPEC.size((1024, 1024)), "float32")
    assert cold >= 4 * (50 << 20)


def test_sets_even_out_where_they_lie():
    """As many as a part of the memory holds, for protocols that ask for cold data."""
    large = dataclasses.replace(GPU, memory_bytes=128 << 30, l2_bytes=1 << 20)
    warm = dataclasses.replace(PROTOCOL, cold_factor=1.0)
    found = [
        timing.set_count(SPEC, SPEC.size((rows, 1024)), "float32", PROTOCOL, large)
        for rows in (1024, 4096, 16384, 1 << 20)
    ]
    assert found == [timing.EVEN_SETS, 32, 8, 2]
    assert timing.set_count(SPEC, SPEC.size((1024, 1024)), "float32", warm, large) == 2


def test_median_is_of_the_rounds():
    """A round that went wrong does not move the figure."""
    lane = Lane(worker=None, clock=Clock.GRAPH, rounds_us=[1.0, 1.0, 2.0, 50.0, 1.5])
    assert lane.median_us == np.median([1.0, 1.0, 2.0, 50.0, 1.5]) == 1.5
