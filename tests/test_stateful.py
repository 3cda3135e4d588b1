"""Random programs with state, called while everything they can see changes: compiled never differs from eager.

A program is a function made of random statements. It is made twice, each time with a state of its own; one is compiled.
Between calls the arguments and their shapes, variables of the enclosing function, globals, captured tensors, numbers,
lists, attributes and flags are changed in both.
`RETAPE_STATEFUL=n` runs n machines in place of the few that the suite has time for.
"""

from __future__ import annotations

import os
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from worlds import counters, numbers, run, same

import retape as rt

STATEMENTS = [
    "a = a * {k} + c0", "a = rt.tanh(a) * o.gain", "a = a + c1", "a = a @ c2", "a = a - a.mean(0)", "a = a * y",
    "if a.sum() > {k}:\n    a = a - 1\nelse:\n    a = a * 0.5", "while a.norm() > 3:\n    a = a * 0.5",
    "c0.mul_(0.9)", "c1.add_(a.mean() * 0.1)", "x.add_({k})", "x[0] = a.sum()", "v = x[1:]\nv *= {k}",
    "x.T[0].sub_(0.5)", "o.state = o.state * 0.5 + a.mean()", "a = a + o.state", "d['m'] = d['m'] * {k} + a.sum()",
    "a = a * d['m'].cos()", "items[0] = a.mean()", "a = a + items[-1] * len(items)", "for e in items:\n    a = a + e",
    "a = a * rt.rand()", "a = a + rt.randn(3, dtype=rt.float64)", "if o.flag:\n    a = -a",
    "a = a * (int(a.abs().max()) % 3 + 1)", "a = a * (a.mean().item() + {k})", "a = a / (1 + a.norm().item())",
    "level = a.sum().item() % 2", "o.count = (a > 0).sum().item() % 3", "o.gain = {k} * a.mean().item()",
    "if a.mean().item() > c0.item():\n    a = a - c0.item()",
    "n = (x > 0).sum().item()\na = a + x.reshape(-1)[:n].sum()",
    "a = a + sum(a.mean(0).tolist()) * {k}", "a = a + rt.rand((a > 0).sum().item() + 1, dtype=rt.float64).sum()",
    "w.grad = None\n(w * a.mean()).pow(2).sum().backward()",
    "if w.grad is not None:\n    with rt.no_grad():\n        w.sub_(0.1 * w.grad)", "(w * {k}).sum().backward()",
    "if a.amax() > 2:\n    return a.sum()", "a = a if x[0, 0] > 0 else a.flip(0)",
    "b = a.detach()\nb.mul_(0.5)\na = b * 1",
    "o.count = o.count + 1 if o.count < 2 else 0\na = a * o.count", "a = a + sum(v.sum() for v in rows)",
    "c3.copy_(a.mean(0))", "c3.data.mul_(0.5)\na = a + c3", "a = a * o.scale.get('s', 1.0)", "x.zero_()",
    "for i in range(x.shape[0]):\n    a = a + x[i] * i", "a = a / x.shape[0]",
    "a = a.reshape(-1, 3) + rt.ones(len(x), 3)",
    "a = a * level + c4", "c4 = c4 * 0.5 + a.mean(0).detach()", "c4.mul_({k})",
    "level = level + 0.5 if level < 2 else 0.5",
    "p['s'][0] = p['s'][0] * {k} + a.mean()", "if len(p['s']) < 4:\n    p['s'].append(a.sum())",
    "p['n'] = p['n'] % 3 + 1",
    "a = a + sum(v.sum() for v in p['s']) * p['n']", "p['t'].add_(a.mean())", "a = a - p['t']",
    "p['t'] = p['t'][::2] * 1",
    "o.t += 1", "o.t += 1\no.rate *= 0.75", "a = a / (1 - 0.9 ** o.t)", "a = a * o.rate",
    "a = a * o.t + 2 ** (o.t % 5)",
    "if o.t % 3 == 1:\n    a = a - o.t // 2", "if o.rate < 0.6:\n    o.rate = o.rate * 2 + 1",
    "a = rt.where(a > o.rate, o.rate, a)", "a = a + rt.full((3,), o.t, dtype=rt.float64)",
    "a = a + x[o.t % x.shape[0]]", "o.d['k'] += o.t\na = a + o.d['k'] * 0.125", "o.seen = o.rate - o.t",
    "a = (a.abs() + 0.5) ** o.rate", "level = level * o.rate if o.t > 1 else level", "a = a + o.l[1]\no.l[1] -= o.t",
    "a = a * (o.t > 2) + isinstance(o.t, int) + isinstance(o.rate, float)", "a = a.clamp(max=o.t)",
    "for i in range(o.t % 3):\n    a = a + i * o.rate", "p['n'] += o.t % 2", "a = a * (p['n'] / (1 + o.t * o.t))",
    "o.t = -o.t", "o.t, o.u = o.u, o.t", "items[0] = a.mean() * o.t", "if a.sum() > o.rate:\n    a = a * o.t",
    "a = a + rt.arange(3) * o.t / len(x)", "a = a + x[x[:, 0] > 0].shape[0] * o.t",
    "(w * o.rate + o.t).sum().backward()", "a = a + rt.tensor(o.t) * rt.tensor(o.rate)",
    "if len(x) < 3:\n    return a, o.t, o.rate + 1",
]


ENCLOSING = """
    def enclosed():
        return c4, level

    def enclose(tensor, number):
        nonlocal c4, level
        c4, level = tensor, number

    return f, enclosed, enclose
"""


def align(found: Any, wanted: Any) -> None:
    """Give one world the numbers of the other, so that differences of rounding don't pile up."""
    if isinstance(wanted, rt.Tensor):
        np.copyto(found._data, wanted._data)
        if wanted.grad is not None:
            align(found.grad, wanted.grad)
    elif isinstance(wanted, (list, tuple)):
        for a, b in zip(found, wanted, strict=True):
            align(a, b)
    elif isinstance(wanted, dict):
        align(list(found.values()), list(wanted.values()))


def world(body: str) -> dict[str, Any]:
    rng = np.random.default_rng(3)

    def tensor(*shape: int) -> Any:
        return rt.from_numpy(np.asarray(rng.uniform(-1, 1, shape)))

    space: dict[str, Any] = {
        "rt": rt, "c0": tensor(), "c1": tensor(3), "c2": tensor(3, 3), "c3": tensor(3), "items": [tensor(), tensor(3)],
        "w": tensor(3).requires_grad_(), "d": {"m": tensor()}, "rows": (tensor(3), tensor(2)),
        "o": SimpleNamespace(gain=1.5, state=tensor(3), flag=False, count=0, scale={"s": 2.0}, t=0, u=3, rate=0.8,
                             d={"k": 1}, l=[None, 2], seen=0.0),
    }
    exec(compile(body, "<program>", "exec"), space)
    space["f"], space["enclosed"], space["enclose"] = space["make"](tensor(3), 1.0)
    space["p"] = {"s": [tensor(), tensor(2)], "n": 2, "t": tensor(3)}
    return space


class Machine(RuleBasedStateMachine):
    @initialize(picks=st.lists(st.tuples(st.sampled_from(STATEMENTS), st.sampled_from([0.5, -0.75, 1.25])), min_size=1,
                               max_size=7))
    def make(self, picks: Any) -> None:
        lines = "\n".join(text.replace("{k}", str(k)) for text, k in picks)
        inner = "\n        ".join(
            ["def f(x, y, p):", "nonlocal c4, level", "a = x * 1", *lines.split("\n"), "return a"])
        body = f"def make(c4, level):\n    {inner}\n{ENCLOSING}"
        self.body = body
        self.worlds = [world(body), world(body)]
        self.functions = [self.worlds[0]["f"], rt.compile(self.worlds[1]["f"], budget=40)]
        self.last: tuple[int, int, float] = (2, 0, 0.5)

    def state(self, number: int) -> Any:
        space = self.worlds[number]
        return [space[name] for name in ("c0", "c1", "c2", "c3", "w", "items", "d", "rows", "p")] + [
            vars(space["o"]), space["enclosed"]()]

    @rule(n=st.sampled_from([1, 2, 3, 4, 5, 7, 9]), seed=st.integers(0, 3), y=st.sampled_from([0.5, -2.0, 3]))
    def call(self, n: int, seed: int, y: float) -> None:
        self.last = n, seed, y
        self.compare(n, seed, y)

    def compare(self, n: int, seed: int, y: float) -> None:
        results, arguments = [], []
        for function, space in zip(self.functions, self.worlds, strict=True):
            x = rt.from_numpy(np.random.default_rng(seed).uniform(-1.5, 1.5, (n, 3)))
            rt.manual_seed(seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results.append(run(function, (x, y, space["p"])))
            arguments.append((x, rt.rand(1).tolist()))
        if isinstance(results[0], BaseException):
            same(results[1], results[0], self.body)
            self.make_alike()
            return
        same(numbers(results[1]), numbers(results[0]), self.body, 1e-9)
        same(arguments[1], arguments[0], self.body, 1e-9)
        same(self.state(1), self.state(0), self.body, 1e-9)
        assert counters(self.state(1)) == counters(self.state(0)), self.body
        align(self.state(1), self.state(0))

    def make_alike(self) -> None:
        """After a failed call, which leaves half of its changes behind in eager code, begin anew."""
        self.worlds = [world(self.body), world(self.body)]
        self.functions = [self.worlds[0]["f"], rt.compile(self.worlds[1]["f"], budget=40)]

    def both(self, edit: Any) -> None:
        """Change something in both worlds; the next call, with arguments like the last ones', has to notice."""
        for space in self.worlds:
            edit(space)
        self.compare(*self.last)

    @rule(k=st.sampled_from([0.5, 2.0]))
    def change_numbers(self, k: float) -> None:
        self.both(lambda s: setattr(s["o"], "gain", k))

    @rule(t=st.sampled_from([-2, 0, 1, 7]), rate=st.sampled_from([0.3, 0.9, 1.5]))
    def change_counters(self, t: int, rate: float) -> None:
        self.both(lambda s: vars(s["o"]).update(t=t, rate=rate))

    @rule()
    def change_flag(self) -> None:
        self.both(lambda s: setattr(s["o"], "flag", not s["o"].flag))

    @rule(name=st.sampled_from(["c0", "c1", "c2", "c3"]))
    def write(self, name: str) -> None:
        self.both(lambda s: s[name].mul_(-0.5))

    @rule(name=st.sampled_from(["c0", "c1", "c2", "c3"]), seed=st.integers(0, 2))
    def rebind(self, name: str, seed: int) -> None:
        self.both(lambda s: s.__setitem__(name, rt.from_numpy(np.asarray(
            np.random.default_rng(seed).uniform(-1, 1, s[name].shape)))))

    @rule()
    def share(self) -> None:
        self.both(lambda s: s.__setitem__("c3", s["c1"]))

    @rule()
    def overlap(self) -> None:
        self.both(lambda s: s.__setitem__("c3", s["c2"][0]))

    @rule()
    def append(self) -> None:
        self.both(lambda s: s["items"].append(s["c1"] * 1) if len(s["items"]) < 5 else s["items"].pop(1))

    @rule()
    def forget_gradient(self) -> None:
        self.both(lambda s: setattr(s["w"], "grad", None))

    @rule(k=st.sampled_from([None, 0.5, 3.0]))
    def change_entry(self, k: Any) -> None:
        self.both(lambda s: s["o"].scale.pop("s", None) if k is None else s["o"].scale.__setitem__("s", k))

    @rule(k=st.sampled_from([0.5, 3.0]), new=st.booleans())
    def change_enclosing(self, k: float, new: bool) -> None:
        self.both(lambda s: s["enclose"](s["c1"] * k if new else s["enclosed"]()[0], k))

    @rule(extent=st.sampled_from([1, 3]), shared=st.booleans())
    def change_arguments(self, extent: int, shared: bool) -> None:
        def edit(s: dict[str, Any]) -> None:
            s["p"]["t"] = s["c1"] if shared else s["c2"][0, :extent] * 1
            s["p"]["s"].insert(0, s["p"]["s"].pop())

        self.both(edit)

    @rule(k=st.sampled_from([-1.0, 0.25]))
    def write_arguments(self, k: float) -> None:
        self.both(lambda s: s["p"]["t"].mul_(k))

    @rule()
    def new_containers(self) -> None:
        def edit(s: dict[str, Any]) -> None:
            s["items"], s["d"], s["rows"] = list(s["items"]), dict(s["d"]), (s["c1"], s["rows"][1])

        self.both(edit)


TestState = Machine.TestCase
TestState.settings = settings(
    max_examples=int(os.environ.get("RETAPE_STATEFUL", "6")), stateful_step_count=20, deadline=None,
    suppress_health_check=list(HealthCheck))
