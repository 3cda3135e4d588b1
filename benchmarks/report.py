"""What is made of results: rows on the terminal, tables for a page, a chart.

Results are `{"machine", "quick", "cores": {cores: {workload: {implementation: row}}}}`; a row has times in seconds and
bytes, or a reason under `failed` (it raised, or the answer was wrong) or `missing` (it can't run here).
"""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

IMPLEMENTATIONS = ("retape", "retape_eager", "jax", "jax_unrolled", "torch", "torch_compile", "pytensor", "numba",
                   "numpy")
HEADINGS = {"retape": "retape", "retape_eager": "retape eager", "jax": "JAX", "jax_unrolled": "JAX, same loop",
            "torch": "torch eager", "torch_compile": "torch.compile", "pytensor": "PyTensor",
            "numba": "numba by hand", "numpy": "NumPy by hand"}
BEGIN, END = "<!-- tables: begin (python -m benchmarks --markdown docs/performance.md) -->", "<!-- tables: end -->"

Row = dict[str, Any]
Rows = dict[str, Row]


def offers(module: ModuleType, implementation: str) -> bool:
    """Whether a workload has an implementation; `torch_compile` goes with `torch`."""
    return hasattr(module, "torch" if implementation == "torch_compile" else implementation)


def merge(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One set of results out of several of one machine, row by row; later ones win.

    Raises `ValueError` where they come from different machines or tiny sizes meet full ones.
    """
    merged: dict[str, Any] = {"machine": parts[0]["machine"], "quick": parts[0]["quick"], "cores": {}}
    for part in parts:
        if (part["machine"], part["quick"]) != (merged["machine"], merged["quick"]):
            raise ValueError(f"results of {part['machine']} (quick: {part['quick']}) can't be merged with those of "
                             f"{merged['machine']} (quick: {merged['quick']}); measure anew on one machine")
        for cores, workloads in part["cores"].items():
            for workload, rows in workloads.items():
                merged["cores"].setdefault(cores, {}).setdefault(workload, {}).update(rows)
    return merged


def value(rows: Rows, name: str, key: str) -> float:
    """A number of a row; not a number where there is none."""
    return float(rows.get(name, {}).get(key, math.nan))


def least(rows: Rows, key: str, *names: str) -> float:
    """The least of several implementations' numbers."""
    found = [x for name in names if not math.isnan(x := value(rows, name, key))]
    return min(found, default=math.nan)


def of_jax(rows: Rows, key: str) -> float:
    """JAX's number: when warm, and of memory, the better way to write it; of first calls the same loop."""
    if key in ("warm", "best", "peak"):
        return least(rows, key, "jax", "jax_unrolled")
    return value(rows, "jax_unrolled" if "warm" in rows.get("jax_unrolled", {}) else "jax", key)


def against_jax(rows: Rows, key: str) -> float:
    """retape's number over JAX's."""
    return value(rows, "retape", key) / of_jax(rows, key)


def mean(ratios: list[float]) -> float:
    """The geometric mean of those that are numbers."""
    logs = [math.log(r) for r in ratios if not math.isnan(r)]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def text(title: str, rows: Rows) -> str:
    """One workload's rows for the terminal."""
    lines = [f"{title:28} {'cold ms':>10} {'cached ms':>10} {'startup':>9} {'warm ms':>11} {'least ms':>11} {'MB':>6} "
             f"{'retape/it':>10}"]
    for name, row in rows.items():
        if "warm" not in row:
            kind = "failed" if "failed" in row else "not available"
            lines.append(f"  {name:26} {kind}: {row.get('failed', row.get('missing'))}")
        else:
            lines.append(f"  {name:26} {row['cold'] * 1e3:10.1f} {row['cached'] * 1e3:10.1f} "
                         f"{row['startup'] * 1e3:9.0f} {row['warm'] * 1e3:11.4f} {row['best'] * 1e3:11.4f} "
                         f"{row['peak'] / 1e6:6.0f} {value(rows, 'retape', 'warm') / row['warm']:10.2f}")
    return "\n".join(lines)


def summary(results: dict[str, Any]) -> str:
    """Geometric means over the workloads that both have."""
    lines = []
    for cores, workloads in results["cores"].items():
        for name in IMPLEMENTATIONS[1:]:
            ratios = {w: value(rows, "retape", "warm") / value(rows, name, "warm") for w, rows in workloads.items()}
            ratios = {w: r for w, r in ratios.items() if not math.isnan(r)}
            if ratios:
                worst = max(ratios, key=lambda w: ratios[w])
                lines.append(f"{cores} core{'s' * (cores != '1')}: retape/{name} geometric mean "
                             f"{mean(list(ratios.values())):.2f} of {len(ratios)} workloads, from "
                             f"{min(ratios.values()):.2f} to {ratios[worst]:.2f} ({worst})")
    return "\n".join(lines)


def number(x: float) -> str:
    """Three digits that mean something; nothing for what is not a number."""
    if math.isnan(x):
        return ""
    return f"{x:.0f}" if x >= 100 else f"{x:.3g}"


def ratio(x: float) -> str:
    return "" if math.isnan(x) else f"{x:.2f}"


def table(headings: list[str], lines: list[list[str]]) -> str:
    rows = [headings, ["---"] * len(headings), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def ordered(workloads: dict[str, Rows]) -> list[str]:
    """By the warm ratio to JAX, the best first."""
    return sorted(workloads, key=lambda w: (math.isnan(r := against_jax(workloads[w], "warm")), r, w))


def warm_table(workloads: dict[str, Rows]) -> str:
    """Warm medians in milliseconds, ordered by the ratio to JAX."""
    names = [n for n in IMPLEMENTATIONS if any("warm" in rows.get(n, {}) for rows in workloads.values())]
    order = ordered(workloads)
    lines = [[w, ratio(against_jax(workloads[w], "warm")),
              *(number(value(workloads[w], n, "warm") * 1e3) for n in names)] for w in order]
    average = mean([against_jax(rows, "warm") for rows in workloads.values()])
    return table(["warm, ms", "retape/JAX", *(HEADINGS[n] for n in names)],
                 [*lines, ["geometric mean", ratio(average), *[""] * len(names)]])


def first_table(workloads: dict[str, Rows]) -> str:
    """First calls and memory: retape's number / JAX's, and the ratio in bold."""
    keys = {"cold": 1e3, "cached": 1e3, "cold_startup": 1e3, "startup": 1e3, "peak": 1e-6}
    lines = []
    for w, rows in workloads.items():
        lines.append([w, *("" if math.isnan(against_jax(rows, key)) else
                           f"{number(value(rows, 'retape', key) * unit)} / {number(of_jax(rows, key) * unit)} "
                           f"**{ratio(against_jax(rows, key))}**" for key, unit in keys.items())])
    means = [f"**{ratio(mean([against_jax(rows, key) for rows in workloads.values()]))}**" for key in keys]
    return table(["retape / JAX **ratio**", "cold, ms", "cached, ms", "from import, cold, ms",
                  "from import, cached, ms", "peak, MB"], [*lines, ["geometric mean", *means]])


def reasons(workloads: dict[str, Rows]) -> list[str]:
    """Why cells are empty."""
    return [f"* {workload}, {HEADINGS[name]}: {row.get('failed') or row['missing']}"
            for workload, rows in workloads.items() for name, row in rows.items() if "warm" not in row]


def markdown(results: dict[str, Any]) -> str:
    """All tables, with what they were measured on."""
    info = results["machine"]
    versions = {name: row["version"] for workloads in results["cores"].values() for rows in workloads.values()
                for name, row in rows.items() if row.get("version")}
    libraries = ", ".join(f"{HEADINGS[n].split()[0]} {versions[n]}" for n in
                          ("retape", "jax", "torch", "pytensor", "numba", "numpy") if n in versions)
    parts = [f"{info['processor']}, {info['cores']} cores, {info['system']} {info['machine']}, Python "
             f"{info['python']}; {libraries}."]
    for cores, workloads in sorted(results["cores"].items()):
        parts += [f"### On {cores} core{'s' * (cores != '1')}", warm_table(workloads), first_table(workloads)]
        if empty := reasons(workloads):
            parts += ["Not measured:", "\n".join(empty)]
    return "\n\n".join(parts)


def insert(page: Path, results: dict[str, Any]) -> None:
    """Put the tables, and the chart of the same name beside the page, between its markers.

    Raises `ValueError` where the page has no markers.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no lines `{BEGIN}` and `{END}`; write them where the tables belong")
    chart = page.with_suffix(".svg")
    picture = f"![Warm times relative to retape's]({chart.name})\n\n" if chart.exists() else ""
    page.write_text(f"{before}{BEGIN}\n\n{picture}{markdown(results)}\n\n{END}{after}", encoding="utf-8")


def draw(results: dict[str, Any], path: Path) -> Path:
    """A chart of warm times relative to retape's, a row a workload. Raises `ModuleNotFoundError` without matplotlib."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update({"svg.hashsalt": "retape", "svg.fonttype": "none"})
    import matplotlib.pyplot as plt

    marks = {"retape_eager": "|", "jax": "o", "jax_unrolled": "d", "torch": "s", "torch_compile": "^", "pytensor": "v",
             "numba": "x", "numpy": "+"}
    everything = sorted(results["cores"].items())
    order = ordered(everything[0][1])[::-1]
    figure, axes = plt.subplots(1, len(everything), sharex=True, sharey=True, squeeze=False,
                                figsize=(5.5 * len(everything) + 1.5, 0.26 * len(order) + 1.6))
    for axis, (cores, workloads) in zip(axes[0], everything, strict=True):
        axis.axvline(1.0, color="black", linewidth=1.2)
        for name, mark in marks.items():
            points = [(value(workloads.get(w, {}), name, "warm") / value(workloads.get(w, {}), "retape", "warm"), i)
                      for i, w in enumerate(order)]
            points = [(x, y) for x, y in points if not math.isnan(x)]
            if points:
                axis.plot(*zip(*points, strict=True), mark, label=HEADINGS[name], markersize=6,
                          alpha=1.0 if name == "jax" else 0.7)
        axis.set(xscale="log", title=f"{cores} core{'s' * (cores != '1')}", yticks=range(len(order)),
                 yticklabels=order, xlabel="warm time, retape = 1 (to the right: slower than retape)")
        axis.grid(True, alpha=0.3)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    figure.set_layout_engine("constrained")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
    return path
