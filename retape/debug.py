"""Looking into running code: `rt.debug.print`."""

from retape.tracer.printing import print_values as print  # noqa: A004

__all__ = ["print"]
