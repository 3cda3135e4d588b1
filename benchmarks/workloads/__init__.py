"""Workloads: each module has `inputs()` and a function an implementation that turns them into a call to be timed.

A call returns its answer as arrays, ready (no work left in flight).
"""
