"""Takes away what runs an implementation's code in a worker's main thread where nobody calls it.

Python calls a file's code for each call and line of ours (profile and trace functions, monitoring,
audit hooks), for signals and timers, and where garbage is collected. An implementation has no
honest reason for any of it when it has returned. Runs in the worker, beside the implementation, so
it is bounded by what the referee sees from outside.
"""

from __future__ import annotations

import gc
import signal
import sys
from typing import Any

_getitimer, _setitimer = signal.getitimer, signal.setitimer
_getsignal, _set_handler = signal.getsignal, signal.signal
_setprofile, _settrace = sys.setprofile, sys.settrace
_addaudithook = sys.addaudithook
_enable, _disable = gc.enable, gc.disable

TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
# what Python tells its audit hooks when somebody hooks in; a hook of ours hears of it for good
ADDS_AUDIT_HOOK = "sys.addaudithook"
TOLD = (ADDS_AUDIT_HOOK, "sys.setprofile", "sys.settrace", "sys.monitoring.register_callback")


class Hooks:
    """Knows what was hooked in before an implementation was imported; there is one in a process."""

    def __init__(self) -> None:
        # in the order of being found
        self.found: dict[str, None] = {}
        self._ours = False
        self._handlers = {number: _getsignal(number) for number in signal.valid_signals()}
        self._callbacks = tuple(gc.callbacks)
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
        _disable()

    def _heard(self, event: str, _: tuple[Any, ...]) -> None:
        if event in TOLD and not self._ours:
            self.found[event] = None
            if event == ADDS_AUDIT_HOOK:
                # Python then does not add it, and says nothing
                raise RuntimeError
