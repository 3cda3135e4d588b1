"""Special functions under torch's names."""

from retape.tracer import surface

__getattr__, __dir__ = surface.namespace("special")
