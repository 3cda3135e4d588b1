"""Looking at what a function becomes: the trace, its derivative as IR, guards, kernels, and a run of printed IR.

Shows a function with a branch on a value: each side is a trace of its own, with a guard that says when it holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import retape as rt
from retape import ir


@rt.compile
def penalty(x: Any) -> Any:
    """Quadratic near the origin, linear far from it."""
    size = x.norm()
    if size < 1.0:
        return 0.5 * size**2
    return size - 0.5


def main() -> dict[str, Any]:
    near, far = np.array([0.3, 0.4]), np.array([3.0, 4.0])
    seen = penalty.specialize(near)
    print(seen.graph, seen.forward, seen.backward, seen.kernels[0].source, sep="\n\n")

    values = [float(penalty(near)), float(penalty(far)), float(penalty(near))]
    print(values, penalty.explain(), sep="\n")

    # the text form is Python: it can be read back, and run
    again = ir.parse(str(seen.graph))
    same = ir.same_graph(again, seen.graph)
    print("parse(print(g)) == g:", same)
    return {"values": values, "traces": penalty.traces, "same": same, "interpreted": again(near)[0]}


if __name__ == "__main__":
    main()
