"""Benchmarks: retape against its peers, as ratios taken in one sitting.

`python -m benchmarks` runs every workload with every implementation that is installed, each in a process of its own on
the same cores, checks that the answers agree before it times, prints a table and writes `benchmarks/results.json`.
"""
