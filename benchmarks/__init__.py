"""Benchmarks: retape against its peers, as ratios taken in one sitting.

`python -m benchmarks` runs every workload with every implementation that is installed, each in processes of its own on
the same cores, checks that the answers agree, prints a table, and writes JSON and a chart. An implementation that
raises, gives another answer or takes too long stands in the table as failed, with the reason.

`measure` times one implementation in its process, `report` makes tables and the chart, `support` holds what the
workloads share, `workloads` has one module a workload. `throughput` measures the compiler itself.
"""
