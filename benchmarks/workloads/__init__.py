"""Workloads: one module each.

`inputs()` makes the data and `tiny()` a small version of it. A function an implementation (`retape`, `retape_eager`,
`jax`, `jax_unrolled`, `torch`, `numpy`) turns data into a call to be timed; a call returns its answer as arrays, ready
(no work left in flight). `check(answer)`, where there is one, raises if the answer isn't the known one. `TOLERANCE` is
how far two answers may be apart, relative to the size of an array; 1e-8 unless said.
"""
