"""Tables, of one source for the terminal and for Markdown, and bars in text."""
from .growth import AXES
from .scenarios import DIRECT, SCENARIOS

BAR = 40


def show_number(value, digits=2):
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}f}"


def bar(value, most):
    return "#" * max(1, round(BAR * value / most)) if value and most else ""


def trouble(row):
    if not row["errors"]:
        return ""
    failed = row["rounds"] - row["good_rounds"]
    first = next(iter(row["errors"])).splitlines()[0][:80]
    return f"{failed} of {row['rounds']} rounds failed: {first}" if failed else first


def scenario_table(name, rows):
    scenario = SCENARIOS[name]
    title = f"{name.upper()}: {scenario.title} ({scenario.unit})"
    most = max((row.get("median", 0) for row in rows.values()), default=0)
    if name == "s5":
        head = ["", "KiB/stream", "x weir", "KiB/connection", "MiB for 10,000 streams", "", ""]
        body = [[n, show_number(r.get("median")), show_number(r.get("ratio")), show_number(r.get("connection_kib"), 1),
                 show_number(r.get("total_mib"), 1), bar(r.get("median"), most), trouble(r)] for n, r in rows.items()]
        return title, head, body
    head = ["", "median", "min", "max", "x weir", "busy", "per second", "p50 us", "p99 us", "", ""]
    body = [[n, show_number(r.get("median")), show_number(r.get("min")), show_number(r.get("max")),
             show_number(r.get("ratio")), show_number(r.get("busy")), show_number(r.get("rate"), 0),
             show_number(r.get("p50_us"), 0), show_number(r.get("p99_us"), 0), bar(r.get("median"), most), trouble(r)]
            for n, r in rows.items()]
    return title, head, body


def latency_table(scenarios):
    head = ["", "p50 us", "added", "p99 us", "added"]
    body = []
    for name, rows in scenarios.items():
        if not SCENARIOS[name].lone or "p50_us" not in rows.get(DIRECT, {}):
            continue
        for peer, row in rows.items():
            if "p50_us" in row:
                cells = [f"{row[key] - rows[DIRECT][key]:+.0f}" for key in ("p50_us", "p99_us")]
                body.append([f"{name} {peer}", f"{row['p50_us']:.0f}", cells[0], f"{row['p99_us']:.0f}", cells[1]])
    return "Added latency of a lone stream (against the target without a proxy)", head, body


def growth_table(name, rows):
    axis = AXES[name]
    most = max((row.get("median", 0) for row in rows.values()), default=0)
    head = [axis.what, "median us/RPC", "min", "max", f"x {axis.base}", "busy", "per second", "", ""]
    body = [[size, show_number(r.get("median")), show_number(r.get("min")), show_number(r.get("max")),
             show_number(r.get("ratio")), show_number(r.get("busy")), show_number(r.get("rate"), 0),
             bar(r.get("median"), most), trouble(r)] for size, r in rows.items()]
    return f"S7: {axis.title}", head, body


def flat_table(title, unit, columns, rows):
    """rows: {name: {column: cell with "value" or "errors"}}."""
    head = [unit, *columns]
    return title, head, [[name, *(show_number(cells[c].get("value")) if c in cells else "-" for c in columns)]
                         for name, cells in rows.items()]


def floor_table(cells):
    return flat_table("S7: CPU of one exchange over one of so many sockets, of a program that does nothing else",
                      "", list(cells), {"us/exchange": cells})


def gate_table(judged, kind):
    head = ["", "of", "value", "at most", ""]
    title = "Gates" if kind == "gate" else "Goals beyond the gates"
    return title, head, [[g["what"], g["of"], show_number(g["value"], 3), show_number(g["limit"], 2), g["state"]]
                         for g in judged if g["kind"] == kind]


def tables(results):
    """All of them, in the order of reading."""
    made = [scenario_table(name, rows) for name, rows in results["scenarios"].items()]
    made.append(latency_table(results["scenarios"]))
    if results["syscalls"]:
        by_peer = {}
        for scenario, cells in results["syscalls"].items():
            for peer, found in cells.items():
                by_peer.setdefault(peer, {})[scenario] = found
        made.append(flat_table(f"System calls per RPC (counted by {results['tracer']})", "", list(results["syscalls"]),
                               by_peer))
    for mode, by_peer in results["instructions"].items():
        shapes = list(next(iter(by_peer.values())))
        made.append(flat_table(f"User instructions per operation, {mode} (callgrind; depth: of the fixed schedule of "
                               "turns, CxS: live)", "", shapes, by_peer))
    if results["instructions_growth"]:
        made.append(flat_table("S7: user instructions per RPC (callgrind)", "", sorted(
            {s for cells in results["instructions_growth"].values() for s in cells}, key=int),
            results["instructions_growth"]))
    made += [growth_table(name, rows) for name, rows in results["growth"].items()]
    if results["socket_floor"]:
        made.append(floor_table(results["socket_floor"]))
    made += [gate_table(results["gates"], kind) for kind in ("gate", "goal")]
    return [table for table in made if table[2]]


def as_text(table):
    title, head, body = table
    widths = [max(len(str(row[i])) for row in [head, *body]) for i in range(len(head))]
    lines = [title]
    for row in [head, *body]:
        cells = [f"{str(cell):>{width}}" if i and not str(cell).startswith("#") else f"{str(cell):<{width}}"
                 for i, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def as_markdown(table):
    title, head, body = table
    keep = [i for i in range(len(head)) if any(str(row[i]) and not str(row[i]).startswith("#") for row in body)]
    lines = [f"### {title}", "", "| " + " | ".join(str(head[i]) for i in keep) + " |",
             "|" + "|".join([" --- "] + [" ---: "] * (len(keep) - 1)) + "|"]
    lines += ["| " + " | ".join(str(row[i]).replace("|", "\\|") for i in keep) + " |" for row in body]
    return "\n".join(lines) + "\n"


def machine_lines(results):
    m = results["machine"]
    return [f"{m['cpus']} x {m['cpu']}, kernel {m['kernel']}, {m['memory_gib']} GiB. Proxy on cpu {m['proxy_cpu']}, load and "
            f"targets on cpu {m['load_cpu']}.",
            f"{results['rounds']} rounds (fewer where a table says so), windows of {results['window_seconds']} s. "
            f"1-minute load average while measuring: {m['load_min']:.1f} to {m['load_max']:.1f}, median "
            f"{m['load_median']:.1f}. It took {results['seconds']:.0f} s."]


def markdown(results):
    parts = ["# Comparison\n", "\n".join(machine_lines(results)) + "\n", "## Versions\n"]
    parts += [f"- {name}: {version}" for name, version in results["versions"].items()]
    parts += ["", "## Results\n"] + [as_markdown(table) for table in tables(results)]
    parts.append("## Command lines and configurations\n")
    for name, (command, configuration) in results["configurations"].items():
        parts.append(f"### {name}\n\n```\n{command}\n{configuration.rstrip()}\n```\n")
    return "\n".join(parts)


def text(results):
    parts = machine_lines(results) + [""]
    parts += [f"{name}: {version}" for name, version in results["versions"].items()] + [""]
    parts += [as_text(table) for table in tables(results)]
    for name, (command, configuration) in results["configurations"].items():
        parts.append(f"--- {name}\n{command}\n{configuration}")
    return "\n".join(parts)
