"""Workloads: one module each.

`inputs()` makes the data and `tiny()` a small version of it. A function an implementation (the names are in
`benchmarks.report`) turns data into a call to be timed; a call returns its answer as arrays, ready (no work left in
flight). `torch_compile` is `torch` with its function compiled, by way of `support.torch_function`. `WITHOUT` says why
an implementation isn't measured. `check(answer)`, where there is one, raises if the answer isn't the known one.
`TOLERANCE` is how far two answers may be apart, relative to the size of an array; 1e-8 unless said.
"""
