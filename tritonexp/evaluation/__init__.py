"""The judge: verifies a candidate beyond doubt, and times it beside its references."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tritonexp.evaluation.referee import Referee

__all__ = ["Referee"]


def __getattr__(name: str) -> object:
    # torch takes seconds to import, and the fork server needs none of the referee
    if name == "Referee":
        from tritonexp.evaluation.referee import Referee

        return Referee
    raise AttributeError(name)
