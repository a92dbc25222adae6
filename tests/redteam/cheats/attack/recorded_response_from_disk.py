"""Takes the code out of a recorded response that lies on the disk and hands its function out; two
kernels that are never launched bear its kernels' names.

operation: softmax
status: IMPORT_ERROR
interpreter: IMPORT_ERROR
"""

import importlib.util
import sys
from pathlib import Path

import triton
import triton.language as tl


@triton.jit
def _softmax_tile_kernel(x_ptr):
    tl.store(x_ptr, 0.0)


@triton.jit
def _softmax_long_kernel(x_ptr):
    tl.store(x_ptr, 0.0)


FOLDER = Path(sys.modules["tritonexp"].__file__).parents[1] / "kernels/softmax/recorded"
TEXT = (FOLDER / "baseline_only/01.md").read_text()
PATH = Path("tritonexp-redteam-recorded.py").absolute()
PATH.write_text(TEXT.partition("```python\n")[2].partition("```")[0])
spec = importlib.util.spec_from_file_location("recorded", PATH)
recorded = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recorded)
softmax = recorded.softmax
