"""Compiles C++ that calls at::softmax.

Where there is no compiler, or none that is quick enough, its import fails instead.

operation: softmax
status: NOT_TRITON or IMPORT_ERROR or TIMEOUT
interpreter: NOT_TRITON or IMPORT_ERROR or TIMEOUT
"""

from torch.utils.cpp_extension import load_inline

SOURCE = "torch::Tensor fast_softmax(torch::Tensor x) { return at::softmax(x, 1); }"
library = load_inline("fast_softmax", SOURCE, functions=["fast_softmax"])


def softmax(x):
    return library.fast_softmax(x)
