"""Takes away what runs an implementation's code in a worker's main thread where nobody calls it.

Python calls a file's code for each call and line of ours (profile and trace functions, monitoring,
audit hooks), for signals and timers, and where garbage is collected; torch does for each of its
operations (dispatch modes, implementations of its own operators), with which results are looked at.
An implementation has no honest reason for any of it when it has returned. Runs in the worker,
beside the implementation, so it is bounded by what the referee sees from outside.
"""

from __future__ import annotations

import gc
import signal
import sys
from typing import Any

import torch
from torch.cuda import _gpu_trace

_getitimer, _setitimer = signal.getitimer, signal.setitimer
_getsignal, _set_handler = signal.getsignal, signal.signal
_setprofile, _settrace = sys.setprofile, sys.settrace
_addaudithook = sys.addaudithook
# since Python 3.12
_monitoring: Any = getattr(sys, "monitoring", None)
_enable, _disable = gc.enable, gc.disable
_dispatch_modes = torch._C._len_torch_dispatch_stack  # noqa: SLF001 - torch has no public way
# what is known to be implemented for operators by Python: "aten/copy_/CUDA"
_IMPLEMENTED: set[str] = torch.library._impls  # noqa: SLF001 - torch has no public way

TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
# what Python tells its audit hooks when somebody hooks in; a hook of ours hears of it for good
ADDS_AUDIT_HOOK = "sys.addaudithook"
TOLD = (ADDS_AUDIT_HOOK, "sys.setprofile", "sys.settrace", "sys.monitoring.register_callback")
# operators by which results are looked at; others torch itself implements in Python, when asked for
LOOKS_BY = ("aten/copy_", "aten/fill_")


def _looks_implemented() -> set[str]:
    return {name for name in _IMPLEMENTED if name.startswith(LOOKS_BY)}


def _tools() -> set[int]:
    """The tools that Python tells of what is executed, by number; none before Python 3.12."""
    return {tool for tool in range(6) if _monitoring and _monitoring.get_tool(tool) is not None}


class Hooks:
    """Knows what was hooked in before an implementation was imported; there is one in a process."""

    def __init__(self) -> None:
        # in the order of being found
        self.found: dict[str, None] = {}
        self._ours = False
        self._handlers = {number: _getsignal(number) for number in signal.valid_signals()}
        self._callbacks = tuple(gc.callbacks)
        self._tools = _tools()
        self._count, self._implemented = len(_IMPLEMENTED), _looks_implemented()
        # it cannot be taken away again, by nobody
        _addaudithook(self._heard)

    def allow(self) -> None:
        """Have garbage collected again, before an implementation is called."""
        _enable()

    def disarm(self) -> None:
        """Take away what was hooked in, and remember it."""
        self._ours = True
        try:
            _setprofile(None)
            _settrace(None)
        finally:
            self._ours = False
        for timer in TIMERS:
            if _getitimer(timer) != (0.0, 0.0):
                _setitimer(timer, 0.0)
                self.found["signal.setitimer"] = None
        for number, known in self._handlers.items():
            if _getsignal(number) is not known:
                # None is a handler that Python has not set and cannot set
                _set_handler(number, signal.SIG_DFL if known is None else known)
                self.found["signal.signal"] = None
        if tuple(gc.callbacks) != self._callbacks:
            gc.callbacks[:] = self._callbacks
            self.found["gc.callbacks"] = None
        for tool in _tools() - self._tools:
            _monitoring.set_events(tool, 0)
            _monitoring.free_tool_id(tool)
            self.found["sys.monitoring"] = None
        self._look_at_torch()
        _disable()

    def _look_at_torch(self) -> None:
        """Remember what of torch's own hooks there are; these need not be taken away."""
        if _dispatch_modes():
            self.found["a torch dispatch mode"] = None
        # thousands, of which none are taken away: only to be gone through where there are more
        if len(_IMPLEMENTED) != self._count:
            self._count = len(_IMPLEMENTED)
            for name in _looks_implemented() - self._implemented:
                self.found[name] = None
        for name, registry in vars(_gpu_trace).items():
            if getattr(registry, "callback_list", None):
                self.found[f"torch.cuda._gpu_trace.{name}"] = None

    def _heard(self, event: str, _: tuple[Any, ...]) -> None:
        if event in TOLD and not self._ours:
            self.found[event] = None
            if event == ADDS_AUDIT_HOOK:
                # Python then does not add it, and says nothing
                raise RuntimeError
