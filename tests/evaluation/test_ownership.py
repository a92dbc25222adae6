"""Whose kernels did the work, on graphs and profiles as a worker describes them."""

from collections import Counter

import pytest

from tritonexp.evaluation import ownership
from tritonexp.evaluation.lanes import Lane
from tritonexp.records import Clock


def kernel(name, count=1, *, own=True):
    """A kernel's node of a graph."""
    return {"name": name, "is_kernel": True, "own": own, "count": count}


FILL = {"name": "CU_GRAPH_NODE_TYPE_MEMSET", "is_kernel": False, "own": False, "count": 1}


def lane(work, launched, calls=1):
    """A lane whose graph holds this work."""
    return Lane(worker=None, clock=Clock.GRAPH, calls=calls, work=work, launched=Counter(launched))


def judged(work, launched, profiled, timed_us=100.0):
    """Why the work is not a candidate's own, in a graph of one call that is profiled."""
    shares = ownership.shares_of(profiled, work, Counter(launched), timed_us)
    return ownership.why_not_own(lane(work, launched), "8x8", shares, work)


def test_graph_of_own_launches_needs_no_profiler():
    """Each call's launches are told; what share each has is not known where there are several."""
    work = [kernel("a", 6), kernel("b", 3), kernel("b", 3)]
    shares = ownership.shares_in_graph(lane(work, {"a": 6, "b": 6}, calls=3))
    assert [(item.name, item.launches, item.share) for item in shares] == [
        ("a", 2, None),
        ("b", 2, None),
    ]
    (alone,) = ownership.shares_in_graph(lane([kernel("a", 3)], {"a": 3}, calls=3))
    assert (alone.share, alone.own) == (1.0, True)


@pytest.mark.parametrize(
    ("work", "launched"),
    [
        ([], {"a": 1}),
        ([kernel("a"), kernel("other", own=False)], {"a": 1}),
        ([kernel("a"), FILL], {"a": 1}),
        ([kernel("a", 2)], {"a": 1}),
        # another's kernel of the name, and none of ours
        ([kernel("a", own=False)], {"a": 1}),
    ],
)
def test_graph_that_may_hold_other_work_is_left_to_the_profiler(work, launched):
    """Nothing is concluded from names alone, nor from a graph that could not be read."""
    assert ownership.shares_in_graph(lane(work, launched)) is None


def test_share_is_of_the_gpu_time():
    """A fill beside the own kernel is allowed a tenth, and no more."""
    work = [kernel("a"), FILL]
    assert judged(work, {"a": 1}, [("a", 1, 95.0), ("Memset (Device)", 1, 5.0)]) == ""
    why = judged(work, {"a": 1}, [("a", 1, 80.0), ("Memset (Device)", 1, 20.0)])
    assert "80%" in why
    assert "Memset" in why


def test_kernel_of_the_same_name_is_not_own():
    """In a graph the function counts: one launch of ours does not cover one of the library's."""
    foreign = [kernel("softmax", own=False), kernel("b")]
    assert "0%" in judged(foreign, {"softmax": 1}, [("softmax", 1, 9.0), ("b", 1, 0.0)])
    both = [kernel("softmax", own=False), kernel("softmax")]
    assert "0%" in judged(both, {"softmax": 1}, [("softmax", 2, 9.0)])


def test_names_must_do_where_nothing_was_captured():
    """What runs eagerly only has launches by name, which the profiler must see as often."""
    assert ownership.shares_of([("a", 2, 5.0)], [], Counter({"a": 2}), 5.0)[0].own
    assert not ownership.shares_of([("a", 3, 5.0)], [], Counter({"a": 2}), 5.0)[0].own


def test_profiler_that_saw_nothing_condemns_no_fill():
    """Beside own kernels a graph may copy and fill memory; what other kernels do must be seen."""
    assert judged([kernel("a"), FILL], {"a": 1}, []) == ""
    why = judged([kernel("a"), kernel("other", own=False)], {"a": 1}, [])
    assert "the profiler saw nothing" in why
    assert "other" in why
    assert "the profiler saw nothing" in judged([FILL], {}, [])


def test_timed_graph_must_hold_what_a_closer_look_finds():
    """A call that is captured for the look may differ from those that were timed."""
    looked_at = [kernel("a")]
    shares = ownership.shares_of([("a", 1, 5.0)], looked_at, Counter({"a": 1}), 5.0)
    timed = lane([kernel("library", 4, own=False)], {}, calls=4)
    why = ownership.why_not_own(timed, "8x8", shares, looked_at)
    assert "1 library" in why
    assert "nothing" in why


def test_another_choice_of_own_kernels_is_allowed():
    """An autotuner that tunes anew may choose a kernel of another name, or more launches of it."""
    looked_at = [kernel("a_64", 2), FILL]
    shares = ownership.shares_of(
        [("a_64", 2, 9.9), ("Memset (Device)", 1, 0.1)], looked_at, Counter({"a_64": 2}), 10.0
    )
    timed = lane([kernel("a_32", 3), {**FILL, "count": 3}], {"a_32": 3}, calls=3)
    assert ownership.why_not_own(timed, "8x8", shares, looked_at) == ""


def test_own_work_that_is_only_there_when_looked_at_has_no_larger_share():
    """A kernel that idles under the profiler cannot make a library's share look small."""
    work = [kernel("a"), kernel("library", own=False)]
    looked_at = [("a", 1, 1000.0), ("library", 1, 30.0)]
    assert judged(work, {"a": 1}, looked_at, timed_us=1000.0) == ""
    # 40 us were timed, and twice that is believed
    assert "62%" in judged(work, {"a": 1}, looked_at, timed_us=40.0)
    assert "0%" in judged(work, {"a": 1}, looked_at, timed_us=10.0)


@pytest.mark.parametrize(
    ("looks", "chosen"),
    [("", 0), ("x", 0), ("x  ", 1), ("xx ", 0), ("x x", 0), ("xxx", 0)],
)
def test_one_look_of_three_accuses_nobody(looks, chosen):
    """Something else may have had the GPU while a kernel of some microseconds ran."""
    found = [((), "") if look == " " else ((), look) for look in looks or " "]
    assert ownership.usual(found) is found[chosen]
