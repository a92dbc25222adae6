"""Which cases of an evaluation go to whom, before anybody is there to take them.

What the cases are is known to inputs.py, and who has been through them to verification.py.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from tritonexp.evaluation import inputs
from tritonexp.operations import Spec
from tritonexp.records import Case, Mode, Size

# a case beyond this is left to the first worker: its copies would fill the GPU's memory
MAX_SCOUTED_BYTES = 256 << 20
# how many groups have at least two cases
LENGTHENED = 12


@dataclass(frozen=True)
class Roster:
    """The cases of one evaluation; a group is of one size and dtype."""

    cases: tuple[Case, ...]
    # of the timed sizes, those that everybody takes
    compared: tuple[Case, ...]
    # those that the candidate's scouts share, the longest first
    groups: tuple[list[Case], ...]
    # those that only the candidate's first worker takes, which is then timed
    left: tuple[Case, ...]
    is_timed: bool

    @property
    def count(self) -> int:
        """How many cases the candidate takes."""
        return sum(map(len, self.groups)) + len(self.left)


def draw_roster(spec: Spec, sizes: Sequence[Size], mode: Mode) -> Roster:
    """Draw cases that nobody could foresee, and say who takes which."""
    cases = inputs.make_cases(spec, sizes, mode, secrets.randbits(63))
    labels = {size.label for size in sizes} if mode is Mode.GPU else set()
    compared: list[Case] = []
    for case in cases:
        if case.size.label in labels and case.dtype == spec.timed_dtype:
            kinds = [(item.size, item.distribution) for item in compared]
            if (case.size, case.distribution) not in kinds:
                compared.append(case)
    # one of each timed size is enough for the worker whose results are verified again in time
    own = {case.size.label: case for case in reversed(compared)}.values()
    scouted = [case for case in cases if case not in own and is_scouted(spec, case)]
    groups = grouped(scouted)
    for group in groups[:LENGTHENED]:
        # some sizes and dtypes come with two sets of values, or a result could be kept for each
        if len(group) == 1:
            group.append(dataclasses.replace(group[0], seed=secrets.choice(inputs.SEEDS)))
    return Roster(
        cases=cases,
        compared=tuple(compared),
        groups=tuple(groups),
        left=tuple(case for case in cases if case not in scouted),
        is_timed=mode is Mode.GPU,
    )


def is_scouted(spec: Spec, case: Case) -> bool:
    """Whether several workers may have a case in memory at a time."""
    return spec.call_bytes(case.size, case.dtype) <= MAX_SCOUTED_BYTES


def grouped(cases: Sequence[Case]) -> list[list[Case]]:
    """The cases of each size and dtype together; those that take the longest first."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.size.label, case.dtype), []).append(case)
    return sorted(groups.values(), key=lambda group: -len(group))
