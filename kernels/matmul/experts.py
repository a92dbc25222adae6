"""The matmul of Triton's tutorial; no package that we depend on holds one for plain float16.

It is an expert only where it is asked for. Otherwise the comparison is two-way, and reports show
"-" where the expert's figures would be.
"""

from tritonexp.tutorials import Tutorial

EXPERTS = (
    Tutorial(
        file="03-matrix-multiplication.py",
        sha256="f88a9506694c58d483ad3cdb4aa672c23df0300803bcfaca13b9396184825008",
        call="matmul(a, b)",
    ),
)
