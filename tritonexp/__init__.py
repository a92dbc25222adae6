"""Judge Triton kernels that language models write, and compare them in MLflow."""

__version__ = "0.1.0"
