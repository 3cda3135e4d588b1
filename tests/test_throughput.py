"""What is done once although it is met often: counts, no times."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

import pytest

from retape.ir import CATALOGUE, GraphBuilder, Op, f32, f64, input_node
from retape.ir.collection import THRESHOLDS, rarely


@pytest.fixture
def inferred(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each op's type rule is asked."""
    counts: Counter[str] = Counter()
    for name in ("sin", "mul", "sum", "pow"):
        op = CATALOGUE[name]

        def infer(*given: Any, op: Op = op, rule: Any = op.infer) -> Any:
            counts[op.name] += 1
            return rule(*given)

        fields = {field: getattr(op, field) for field in op.__dataclass_fields__
                  if field not in ("attribute_names", "variadic")}
        monkeypatch.setitem(CATALOGUE, name, Op(**{**fields, "infer": infer}))
    return counts


def test_a_type_is_inferred_once_for_each_op_types_and_attributes(inferred: Counter[str]) -> None:
    b = GraphBuilder()
    x, y = input_node("x", f64[2, 3]), input_node("y", f32[2, 3])
    for i in range(20):
        x = b.sin(b.mul(x, x)) if i % 2 else b.sin(x)
    b.sin(y)
    assert inferred == {"sin": 2, "mul": 1}
    types = [b.sum(x, axis=(axis,), keepdims=False).type for axis in (0, 1, 0)]
    assert [str(t) for t in types] == ["f64[3]", "f64[2]", "f64[3]"]
    assert inferred["sum"] == 2
    assert b.pow(x, 2).type is b.pow(x, 2.5).type  # equal types are one object
    assert inferred["pow"] == 2  # a literal counts with its value and its kind


def test_collections_are_rare_inside_and_as_before_outside() -> None:
    before = gc.get_threshold()
    try:
        gc.set_threshold(500, 7, 8)
        with rarely:
            assert gc.get_threshold() == THRESHOLDS
            with rarely:
                pass
            assert gc.get_threshold() == THRESHOLDS
        assert gc.get_threshold() == (500, 7, 8)
        with rarely:
            gc.set_threshold(900, 7, 8)  # what is set inside stays
        assert gc.get_threshold() == (900, 7, 8)
        for own in ((0, 7, 8), (THRESHOLDS[0] + 1, 7, 8)):  # no collections at all, or rarer ones
            gc.set_threshold(*own)
            with rarely:
                assert gc.get_threshold() == own
            assert gc.get_threshold() == own
        gc.set_threshold(500, 7, 8)
        with pytest.raises(ZeroDivisionError), rarely:
            _ = 1 / 0
        assert gc.get_threshold() == (500, 7, 8)
    finally:
        gc.set_threshold(*before)
