"""Plots of a run: plots.py RESULTS.json FOLDER. Needs python3-matplotlib (tools/setup bench)."""
import json
import os
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  pylint: disable=wrong-import-position

COLOURS = {"weir": "#1b6ca8", "weir-full": "#6baed6", "nghttpx": "#d95f02", "haproxy": "#7a7a7a", "nginx": "#2a9d5c"}


def bars(axes, title, unit, rows):
    """Medians, with the range over the rounds."""
    names = [n for n in rows if "median" in rows[n]]
    medians = [rows[n]["median"] for n in names]
    spread = [[m - rows[n]["min"] for n, m in zip(names, medians)], [rows[n]["max"] - m for n, m in zip(names, medians)]]
    axes.bar(names, medians, color=[COLOURS.get(n, "#444444") for n in names], yerr=spread, capsize=3)
    for i, m in enumerate(medians):
        axes.annotate(f"{m:.3g}", (i, m), xytext=(3, 3), textcoords="offset points", fontsize=7)
    axes.set_title(title, fontsize=9)
    axes.set_ylabel(unit, fontsize=8)
    axes.tick_params(axis="x", labelrotation=30, labelsize=7)
    axes.set_ylim(0, 1.15 * max(rows[n]["max"] for n in names))


def line(axes, title, what, rows):
    sizes = [int(s) for s in rows if "median" in rows[s]]
    found = [rows[str(s)] for s in sizes]
    medians = [r["median"] for r in found]
    spread = [[r["median"] - r["min"] for r in found], [r["max"] - r["median"] for r in found]]
    axes.errorbar(sizes, medians, yerr=spread, marker="o", capsize=3, color=COLOURS["weir"])
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{s:,}" for s in sizes])
    axes.minorticks_off()
    axes.set_title(title, fontsize=8)
    axes.set_xlabel(what, fontsize=8)
    axes.set_ylabel("CPU us/RPC", fontsize=8)
    axes.set_ylim(0, 1.15 * max(r["max"] for r in found))


def page(path, title, plots):
    """plots: functions that draw on axes."""
    columns = min(3, len(plots))
    lines = (len(plots) + columns - 1) // columns
    figure, grid = pyplot.subplots(lines, columns, figsize=(4.6 * columns, 3.4 * lines), squeeze=False)
    cells = [axes for row in grid for axes in row]
    for draw, axes in zip(plots, cells):
        draw(axes)
    for axes in cells[len(plots):]:
        axes.axis("off")
    figure.suptitle(title + "\nmedian and range over the rounds", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def draw_all(results, titles, folder):
    made = []
    scenarios = [(n, r) for n, r in results["scenarios"].items() if any("median" in row for row in r.values())]
    if scenarios:
        made.append(page(os.path.join(folder, "scenarios.png"), "CPU of the proxy per operation; s5: memory",
                         [lambda axes, n=n, r=r: bars(axes, f"{n.upper()}: {titles[n][0]}", titles[n][1], r)
                          for n, r in scenarios]))
    lone = [(n, r) for n, r in scenarios if "direct" in r]
    if lone:
        made.append(page(os.path.join(folder, "latency.png"), "p50 of a lone stream",
                         [lambda axes, n=n, r=r: bars(axes, f"{n.upper()}: {titles[n][0]}", "p50 us", {
                             p: {"median": row["p50_us"], "min": row["p50_us_range"][0], "max": row["p50_us_range"][1]}
                             for p, row in r.items() if "p50_us" in row}) for n, r in lone]))
    growth = [(n, r) for n, r in results["growth"].items() if any("median" in row for row in r.values())]
    if growth:
        made.append(page(os.path.join(folder, "growth.png"), "S7: growth",
                         [lambda axes, n=n, r=r: line(axes, titles[n][0], titles[n][1], r) for n, r in growth]))
    return made


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        results = json.load(f)
    for path in draw_all(results, results["titles"], sys.argv[2]):
        print(path)


if __name__ == "__main__":
    main()
