"""Neural networks: `rt.nn.functional` has activations, losses and layers as functions, under torch's names."""

from retape.nn import functional

__all__ = ["functional"]
