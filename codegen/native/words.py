"""LLVM text that takes fields out of tables of words."""

from __future__ import annotations

__all__ = ["words"]


def words(table: str, *fields: str, first: int = 0) -> str:
    """Lines that load the words of a table from number `first` on: `words("ints", "ptr kernel", "i64 extent")` gives
    `%kernel` and `%extent`. The address of word 2 is `%ints.2`."""
    lines = []
    for number, field in enumerate(fields, first):
        kind, name = field.split()
        place = f"%{table}.{number}" if number else f"%{table}"
        if number:
            lines.append(f"  {place} = getelementptr i64, ptr %{table}, i64 {number}")
        lines.append(f"  %{name} = load {kind}, ptr {place}")
    return "\n".join(lines)
