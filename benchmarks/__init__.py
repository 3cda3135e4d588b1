"""Benchmarks: retape against its peers, as ratios taken in one sitting.

`python -m benchmarks` runs every workload with every implementation that is installed, each in a process of its own on
the same cores, checks that the answers agree, prints a table and writes `benchmarks/results.json`. An implementation
that raises, gives another answer, or takes too long stands in the table as `failed`, with the reason.

`measure` times one implementation, `support` holds what the workloads share, `workloads` has one module a workload.
"""
