"""Compile the Triton kernels of a file for a named GPU on a machine that has none.

The unmodified file is imported and its function is called on tensors that have a shape, a dtype,
the device cuda:0 and no memory. A stand-in for Triton's driver answers for the target GPU, so each
kernel is compiled with the specialisation that its real launch would have, and records the launch
instead of making it. An autotuner walks over all of its configurations: each is compiled and
recorded, and the first that fits is taken for the best, because nothing is timed here.

The file is untrusted: parent.py starts a process of its own for it, and child.py is that process.
What it answers is checked for form only. A file that sets out to lie about its own registers can;
nothing that is found here enters a verdict.

Not covered: host code that reads the values of a tensor, or that needs a live GPU beyond what
stand_in.py names; kernels in languages other than Triton; targets that are not in `DEVICES`.
"""

from tritonexp.evaluation.offline.parent import compile_for

__all__ = ["compile_for"]
