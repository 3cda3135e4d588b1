"""From IR to running code: fusion, kernel source, vector math, memory plan and the tape player.

`compile_graph` is the way in; the order of work is `lower.py` (with `stages.py`, `fuse.py`, `loops.py`, `emit.py`),
`memory.py`, `linking.py`, `program.py`. What lowering gives is kept on disk (`kept.py`, `packing.py`). Trace trees are
`trails.py` over `parts.py`, walked by `native/trail_ir.py`. numba and llvmlite are imported only when a kernel is
built.
"""

from .kernels import Kernel
from .program import Program, compile_graph

__all__ = ["Kernel", "Program", "compile_graph"]
