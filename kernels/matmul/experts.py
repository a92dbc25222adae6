"""No expert: no package that we depend on holds a human-written Triton matmul for plain float16.

The comparison is therefore two-way, and reports show "-" where the expert's figures would be.
"""

EXPERTS = ()
