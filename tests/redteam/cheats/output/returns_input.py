"""Launches a kernel that does nothing and returns its input.

operation: softmax
status: WRONG_FORM
interpreter: WRONG_FORM
"""

import triton


@triton.jit
def idle_kernel(x_ptr):
    pass


def softmax(x):
    idle_kernel[(1,)](x)
    return x
