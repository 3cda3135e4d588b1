"""Hand tracking (ADBench): the model of a hand, how its vertices follow from 26 numbers, and the Jacobian.

`hand_simple` compares vertices with points, `hand_complicated` points on triangles.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import support
from benchmarks.support import SHARED, Array, Call, assert_close, expected

PARAMETERS = 26
WITHOUT = {"torch_compile": "a branch on a value inside a derivative"}
ANGLES = {bone: place for finger in range(5) for bone, place in
          ((4 * finger + 3, 8 + 4 * finger), (4 * finger + 4, 9 + 4 * finger))}  # those that bend about one axis


def read_model(folder: Path) -> tuple[list[int], Array, Array, Array, Array, Array]:
    """Parents, relative and inverse absolute transforms (B, 4, 4), vertices (V, 4), weights (V, B), triangles."""
    def lines(name: str) -> list[list[str]]:
        return [line.split(":") for line in (folder / name).read_text(encoding="utf-8").split()]

    bones, rows = lines("bones.txt"), lines("vertices.txt")
    numbers = np.array([bone[2:34] for bone in bones], np.float64)
    weights = np.zeros((len(rows), len(bones)))
    for v, row in enumerate(rows):
        for k in range(int(row[8])):
            weights[v, int(row[9 + 2 * k])] = float(row[10 + 2 * k])
    places = np.array([[*row[:3], 1.0] for row in rows], np.float64)
    return ([int(bone[1]) for bone in bones], numbers[:, :16].reshape(-1, 4, 4), numbers[:, 16:].reshape(-1, 4, 4),
            places, weights, np.array(lines("triangles.txt"), np.int64))


def read(kind: str, model: str, name: str) -> tuple[Any, ...]:
    """theta, u (N, 2), model, index of the vertices (1 or 3, N), targets (N, 3)."""
    path = SHARED / "hand" / f"{kind}_{model}" / name
    if not path.exists():
        return drawn(kind)
    numbers = iter(path.read_text(encoding="utf-8").split())
    n = int(next(numbers))
    next(numbers)
    rows = np.array([[float(next(numbers)) for _ in range(4)] for _ in range(n)])
    u = np.array([[float(next(numbers)) for _ in range(2)] for _ in range(n if kind == "complicated" else 0)])
    theta = np.array([float(x) for x in numbers])
    parts = read_model(SHARED / "hand" / f"model_{model}")
    index = rows[:, 0].astype(np.int64)
    return theta, u.reshape(-1, 2), parts[:5], (parts[5][index].T if len(u) else index[None]), rows[:, 1:]


def drawn(kind: str, n: int = 100, vertices: int = 544) -> tuple[Any, ...]:
    """Random numbers in the same places, with the hand's tree: a wrist and five fingers of four bones, and one more."""
    rng = np.random.default_rng(0)
    parents = [-1, *(0 if (bone - 1) % 4 == 0 else bone - 1 for bone in range(1, 21)), 0]
    weights = rng.random((vertices, 22)) * (rng.random((vertices, 22)) < 0.15)
    places = np.concatenate([rng.standard_normal((vertices, 3)), np.ones((vertices, 1))], 1)
    transforms = rng.standard_normal((2, 22, 4, 4)) / 2
    transforms[:, :, 3] = (0.0, 0.0, 0.0, 1.0)
    corners = 3 if kind == "complicated" else 1
    return (rng.standard_normal(PARAMETERS), rng.random((n if corners == 3 else 0, 2)),
            (parents, transforms[0], transforms[1], places, weights), rng.integers(0, vertices, (corners, n)),
            rng.standard_normal((n, 3)))


def check(name: str, answer: Any) -> None:
    """Residuals (3 N,) and the Jacobian (3 N, 26), or (3 N, 2 + 26), against the known answers."""
    wanted = expected("adbench", f"hand/{name}") if (SHARED / "hand").exists() else None
    if wanted is None or len(answer[0]) != 3 * wanted["N"]:
        return
    residuals, columns = map(np.asarray, answer)
    turned = columns[:, -PARAMETERS:] @ np.cos(np.arange(PARAMETERS))
    assert_close("sum", residuals.sum(), wanted["sum_err"])
    assert_close("sum of squares", (residuals**2).sum(), wanted["sumsq_err"])
    for i in range(3):
        assert_close(f"residual {i}", residuals[i], wanted["err_first3"][i])
        assert_close(f"row {i} along cos(j)", turned[i], wanted["Jtheta_cos_first3"][i])


def turn(stack: Callable[..., Any], c: Any, s: Any, axis: int) -> Any:
    """The rotation by an angle with cosine c and sine s about an axis, 4 x 4."""
    one, zero = c * 0 + 1, c * 0
    rows = {0: (one, zero, zero, zero, zero, c, -s, zero, zero, s, c, zero),
            2: (c, -s, zero, zero, s, c, zero, zero, zero, zero, one, zero)}[axis]
    return stack([*rows, zero, zero, zero, one]).reshape(4, 4)


def around(library: Any, stack: Callable[..., Any], choose: Callable[..., Any], a: Any) -> Any:
    """The rotation of the whole hand; the vector's length is the angle."""
    square = (a * a).sum()

    def turned() -> Any:
        n = library.sqrt(square)
        x, y, z = (a[i] / n for i in range(3))
        c, s = library.cos(n), library.sin(n)
        d = 1 - c
        return stack([x * x * d + c, x * y * d - z * s, x * z * d + y * s, x * y * d + z * s, y * y * d + c,
                      y * z * d - x * s, x * z * d - y * s, y * z * d + x * s, z * z * d + c]).reshape(3, 3)

    def still() -> Any:
        one, zero = square * 0 + 1, square * 0
        return stack([one, zero, zero, zero, one, zero, zero, zero, one]).reshape(3, 3)

    return choose(square < 1e-8, still, turned)


def residuals(library: Any, stack: Callable[..., Any], choose: Callable[..., Any], parents: list[int]) -> Any:
    """(3 N,) from theta and u; u has no rows in the simple variant.

    `choose(condition, then, otherwise)` takes functions without arguments.
    """
    def vertices(theta: Any, relative: Any, inverse: Any, places: Any, weights: Any) -> Any:
        cos, sin = library.cos(theta), library.sin(theta)
        absolute: list[Any] = []
        for bone, parent in enumerate(parents):
            own = relative[bone]
            if bone % 4 == 2 and bone < 21:  # the first joint of a finger has two angles
                i = 6 + 4 * (bone // 4)
                own = own @ (turn(stack, cos[i + 1], sin[i + 1], 2) @ turn(stack, cos[i], sin[i], 0))
            elif bone in ANGLES:
                own = own @ turn(stack, cos[ANGLES[bone]], sin[ANGLES[bone]], 0)
            absolute.append(own if parent < 0 else absolute[parent] @ own)
        transforms = stack([a @ inverse[bone] for bone, a in enumerate(absolute)])
        blended = (weights @ transforms[:, :3].reshape(len(parents), 12)).reshape(len(places), 3, 4)
        found = (blended * places[:, None, :]).sum(-1)
        return found @ around(library, stack, choose, theta[:3]).T + theta[3:6]

    def call(theta: Any, u: Any, index: Any, targets: Any, *model: Any) -> Any:
        v = vertices(theta, *model)
        if len(index) == 1:
            return (targets - v[index[0]]).reshape(-1)
        a, b = u[:, :1], u[:, 1:]
        return (targets - (a * v[index[0]] + b * v[index[1]] + (1 - a - b) * v[index[2]])).reshape(-1)

    return call


def branch(condition: Any, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """What one writes in Python."""
    return then() if condition else otherwise()


def by_columns(function: Any, jvp: Any, stack: Any) -> Any:
    """Residuals and Jacobian, a directional derivative a column; `basis` are the 26 directions of theta."""
    def call(theta: Any, u: Any, basis: Any, directions: Any, *rest: Any) -> Any:
        columns = [jvp(lambda u: function(theta, u, *rest), (u,), (d,))[1] for d in directions]
        for row in basis:
            value, column = jvp(lambda theta: function(theta, u, *rest), (theta,), (row,))
            columns.append(column)
        return value, stack(columns, 1)

    return call


def arguments(given: Any) -> tuple[Any, ...]:
    """theta, u, directions of theta, directions of u, index, targets, arrays of the model."""
    theta, u, model, index, targets = given
    directions = np.zeros((2 if len(u) else 0, *u.shape))
    for i in range(len(directions)):
        directions[i, :, i] = 1.0
    return theta, u, np.eye(PARAMETERS), directions, index, targets, *model[1:]


def retape_jacobian(parents: list[int]) -> Any:
    import retape as rt

    return by_columns(residuals(rt, rt.stack, branch, parents), rt.func.jvp, rt.stack)


def retape(given: Any) -> Call:
    return support.retape_forward(retape_jacobian(given[2][0]), arguments(given))


def retape_eager(given: Any) -> Call:
    import retape as rt

    tensors, call = [rt.from_numpy(a) for a in arguments(given)], retape_jacobian(given[2][0])
    return lambda: [part.numpy() for part in call(*tensors)]


def jax(given: Any) -> Call:
    """All directions at once."""
    import jax as library
    import jax.numpy as jnp

    function = residuals(jnp, jnp.stack, library.lax.cond, given[2][0])

    def call(theta: Any, u: Any, basis: Any, directions: Any, *rest: Any) -> Any:
        value, push = library.linearize(lambda theta: function(theta, u, *rest), theta)
        columns = library.vmap(push, out_axes=1)(basis)
        if len(directions):
            _, push = library.linearize(lambda u: function(theta, u, *rest), u)
            columns = jnp.concatenate([library.vmap(push, out_axes=1)(directions), columns], 1)
        return value, columns

    return support.jax_forward(call, arguments(given))


def torch(given: Any) -> Call:
    import torch as library

    call = by_columns(residuals(library, library.stack, branch, given[2][0]), library.func.jvp, library.stack)
    tensors = [library.tensor(np.asarray(a)) for a in arguments(given)]
    return lambda: [part.numpy() for part in call(*tensors)]
