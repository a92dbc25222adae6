"""Measure the memory traffic of a call with Nsight Compute, where `profile=ncu` asks for it.

ncu, which is none of ours and not confined, starts child.py, which makes a call's arguments on the
GPU, confines itself as a worker is and then imports the file. One call is measured, after two in
which everything is compiled and tuned. Each kernel begins with an empty cache.

Whoever may not read the GPU's performance counters gets a reason instead of figures. No verdict
follows from what is found here.

Not covered: what a kernel leaves in the cache to be written later; how much a file writes to disk
beyond the size of one file; what other programs of the user keep in /dev/shm, which stays open to
the file here, as the driver needs it for each measurement.
"""

from tritonexp.evaluation.ncu.output import NcuError, NcuUnusableError
from tritonexp.evaluation.ncu.parent import find, measure

__all__ = ["NcuError", "NcuUnusableError", "find", "measure"]
