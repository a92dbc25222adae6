"""Judge Triton kernels that language models write, and compare them in MLflow."""

import os

__version__ = "0.1.0"

# before torch is imported: a worker that is killed cannot hand back its share of the memory that it
# mapped, and torch would warn of that at every exit
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
