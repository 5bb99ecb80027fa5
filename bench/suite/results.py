"""What the measurements say: medians, ranges, paired ratios, and which of them pass the gates."""
import statistics

FULL, BARE = "weir-full", "weir"


def summary(cells):
    """Per peer (or size): values per round (None: failed), median, range, errors."""
    rows = {}
    for name, rounds in cells.items():
        values = [c.get("value") for c in rounds]
        good = [v for v in values if v is not None]
        row = {"values": values, "rounds": len(rounds), "good_rounds": len(good), "errors": {}}
        if good:
            row |= {"median": statistics.median(good), "min": min(good), "max": max(good)}
        for key in ("busy", "rate", "p50_us", "p99_us", "connection_kib", "total_mib"):
            found = [c[key] for c in rounds if key in c]
            if found:
                row[key] = statistics.median(found)
                if key == "p50_us":
                    row["p50_us_range"] = [min(found), max(found)]
        for c in rounds:
            for what, count in c["errors"].items():
                row["errors"][what] = row["errors"].get(what, 0) + count
        rows[name] = row
    return rows


def paired(rows, one, other):
    """Median over the rounds of one's value by the other's in the same round; None without a common round."""
    if one not in rows or other not in rows:
        return None
    ratios = [a / b for a, b in zip(rows[one]["values"], rows[other]["values"]) if a is not None and b]
    return statistics.median(ratios) if ratios else None


def add_ratios(rows, base):
    for name, row in rows.items():
        ratio = paired(rows, name, base)
        if ratio is not None:
            row["ratio"] = ratio
    return rows


def _ratio(scenario, peer):
    return lambda r, weir: paired(r["scenarios"].get(scenario, {}), weir, peer)


def _row(section, scenario, key):
    return lambda r, weir: r[section].get(scenario, {}).get(weir, {}).get(key)


def _scaled(get, factor):
    def scaled(r, weir):
        value = get(r, weir)
        return None if value is None else value * factor
    return scaled


def _growth(axis, size):
    return lambda r, weir: r["growth"].get(axis, {}).get(str(size), {}).get("ratio") if weir == BARE else None


def _counted_growth(axis, size, base):
    def get(r, weir):
        cells = r["instructions_growth"].get(axis, {})
        values = [cells.get(str(s), {}).get("value") for s in (size, base)]
        return values[0] / values[1] if weir == BARE and None not in values else None
    return get


def _instructions(mode, shape):
    return lambda r, weir: r["instructions"].get(mode, {}).get(weir, {}).get(shape, {}).get("value")


def _added_latency(scenario, quantile):
    """Weir's added latency by that of the best peer."""
    def get(r, weir):
        rows = r["scenarios"].get(scenario, {})
        direct = rows.get("direct", {}).get(quantile)
        added = {name: row[quantile] - direct for name, row in rows.items()
                 if direct is not None and quantile in row and name != "direct"}
        others = [v for name, v in added.items() if not name.startswith("weir")]
        return added[weir] / min(others) if weir in added and others and min(others) > 0 else None
    return get


# (what, how to get it of the results and one of Weir's variants, the most it may be). Gates have to hold; goals
# are what is aimed at beyond them.
GATES = [
    ("S1 by nghttpx", _ratio("s1", "nghttpx"), 0.30),
    ("S1w by nghttpx", _ratio("s1w", "nghttpx"), 0.60),
    ("S2u by nghttpx", _ratio("s2u", "nghttpx"), 0.65),
    ("S3 by nghttpx", _ratio("s3", "nghttpx"), 0.80),
    ("S4 by nghttpx", _ratio("s4", "nghttpx"), 0.85),
    ("S6 by nginx", _ratio("s6", "nginx"), 1.0),
    ("S1r by nghttpx", _ratio("s1r", "nghttpx"), 0.75),
    ("S3r by nghttpx", _ratio("s3r", "nghttpx"), 0.75),
    ("S5 bytes per idle stream", _scaled(_row("scenarios", "s5", "median"), 1024), 600),
    ("S5 KiB per connection", _row("scenarios", "s5", "connection_kib"), 40),
    ("system calls per RPC, S1", _row("syscalls", "s1", "value"), 0.2),
    ("system calls per RPC, S2u", _row("syscalls", "s2u", "value"), 7),
    ("instructions per unary RPC, depth 32", _instructions("unary", "depth 32"), 6500),
    ("instructions per message, depth 32", _instructions("pingpong", "depth 32"), 1900),
    ("S7 1000 targets by 2, one stream", _growth("targets", 1000), 1.10),
    ("S7 1000 targets by 2, one stream, instructions", _counted_growth("targets", 1000, 2), 1.10),
    ("S7 100 rules by 1, instructions", _counted_growth("rules", 100, 1), 1.10),
    ("S7 100 rules by 1", _growth("rules", 100), 1.10),
    ("S7 2 workers by 1", _growth("workers", 2), 1.11),
    ("S7 2 workers by 1, four fat connections", _growth("workers_fat", 2), 1.11),
]
GOALS = [
    ("S1 by nghttpx", _ratio("s1", "nghttpx"), 0.20),
    ("S1 by nghttpx, then", _ratio("s1", "nghttpx"), 0.12),
    ("S2u by nghttpx", _ratio("s2u", "nghttpx"), 0.60),
    ("S3 by nghttpx", _ratio("s3", "nghttpx"), 0.70),
    ("S3 by nghttpx, then", _ratio("s3", "nghttpx"), 0.50),
    ("S4 by nghttpx", _ratio("s4", "nghttpx"), 0.75),
    ("S6 by nginx", _ratio("s6", "nginx"), 0.90),
    ("S1r by nghttpx", _ratio("s1r", "nghttpx"), 0.60),
    ("S3r by nghttpx", _ratio("s3r", "nghttpx"), 0.65),
    ("added p50 of a lone stream by the best peer, S2u", _added_latency("s2u", "p50_us"), 1.0),
    ("added p50 of a lone stream by the best peer, S2", _added_latency("s2", "p50_us"), 1.0),
]


def gates(results):
    """One record per gate, goal and variant of Weir: value None where it was not measured."""
    judged = []
    for kind, rules in (("gate", GATES), ("goal", GOALS)):
        for what, get, limit in rules:
            for weir in (BARE, FULL):
                value = get(results, weir)
                if value is None and weir == FULL:
                    continue
                state = "not measured" if value is None else "PASS" if value <= limit else "FAIL"
                judged.append({"kind": kind, "what": what, "of": weir, "value": value, "limit": limit, "state": state})
    return judged
