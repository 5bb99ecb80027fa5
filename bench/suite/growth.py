"""s7: what the CPU per RPC becomes with more targets (its peers', too), rules, open streams and workers.

Each axis is a list of sizes; they take turns within a round, and a size is compared with the axis' base of the
same round. Shapes of load, since batching decides the cost of an RPC more than anything else:
  lone   one stream, all on one cpu: each RPC pays its own wake-ups and system calls, whatever the size is. Here
         alone the number of targets does not change the batches, so this is where the balancer's own cost shows.
  deep   10 connections x 32 streams, as s1
  fat    4 connections x 80 streams
"""
import contextlib
import json
import os
import subprocess
from typing import NamedTuple

from .rig import Failure
from .scenarios import IdleStreams, instructions, measured, shape

SHAPES = {"lone": shape("unary"), "deep": shape("unary", 10, 32), "fat": shape("unary", 4, 80)}
PER_CONNECTION = 100  # streams held open beside the load


class Axis(NamedTuple):
    title: str
    what: str      # targets, rules, streams, workers
    load: str      # of SHAPES
    sizes: tuple
    base: int
    quick: tuple = ()
    settings: dict = {}
    peer: str = "weir"


AXES = {
    "targets": Axis("targets, one stream at a time", "targets", "lone", (1, 2, 10, 100, 1000), 2, (2, 1000)),
    "targets_lor": Axis("targets, one stream at a time, least outstanding requests", "targets", "lone",
                        (2, 100, 1000), 2, (), {"algorithm": "least_outstanding_requests"}),
    "targets_deep": Axis("targets, 10 x 32 streams: the batches towards each target get thin", "targets", "deep",
                         (1, 2, 10, 100, 1000), 2, ()),
    **{f"targets_{peer}": Axis(f"targets, one stream at a time: {peer}", "targets", "lone", (2, 100, 1000), 2, quick,
                               peer=peer)
       for peer, quick in (("nghttpx", (2, 1000)), ("haproxy", ()), ("nginx", ()))},
    "rules": Axis("rules, the last one matches", "rules", "deep", (1, 10, 100), 1, (1, 100)),
    "streams": Axis("streams held open beside the load", "streams", "deep", (1, 100, 1000, 10000, 100000), 1,
                    (1, 10000)),
    "workers": Axis("workers, 10 x 32 streams, load and proxy share the cpus", "workers", "deep", (1, 2, 4), 1,
                    (1, 2)),
    "workers_fat": Axis("workers, 4 x 80 streams, load and proxy share the cpus", "workers", "fat", (1, 2, 4), 1,
                        (1, 2)),
}


# Also counted in instructions: (axis, sizes).
COUNTED = (("targets", (2, 1000)), ("rules", (1, 100)))


def sizes_of(axis, quick):
    return axis.quick if quick else axis.sizes


def situation(bench, axis, size):
    """Kind of backend, targets, settings of the balancer."""
    kind = "many" if axis.what == "targets" else "raw"
    targets = bench.targets[kind][:size] if axis.what == "targets" else bench.targets[kind]
    settings = dict(axis.settings, checked=False)
    if axis.what in ("rules", "workers"):
        settings[axis.what] = size
    return kind, targets, settings


def open_all(bench, port, targets):
    """Every target gets its connection before anything is measured: they take turns."""
    bench.load(port, [*SHAPES["deep"], "--warmup", "0", "--seconds", "60", "--max-ops", str(3 * len(targets))],
               bench.load_cpu, 120)


def instructions_of(bench, name, size):
    """User instructions per RPC: what is left of growth without kernel and caches. Without a control plane: what is
    done once a second, for whatever number of RPCs, would weigh hundreds of times too much at callgrind's pace."""
    axis = AXES[name]
    kind, targets, settings = situation(bench, axis, size)
    connections, streams = (1, 1) if axis.load == "lone" else (10, 32)
    return instructions(bench, "weir", "unary", connections, streams, kind=kind, targets=targets,
                        operations=4000 if axis.load == "lone" else 20000, watched=False,
                        before=lambda port: open_all(bench, port, targets), **settings)


def socket_floor(bench, sizes):
    """{size: cell}: an exchange over one of so many sockets, of a program that does nothing else."""
    done = subprocess.run([bench.tool("socket_floor"), "--connections", ",".join(map(str, sizes)), "--rounds", "3",
                           "--seconds", str(bench.options.seconds)], capture_output=True, text=True, check=False,
                          timeout=60 + 4 * len(sizes) * bench.options.seconds,
                          preexec_fn=lambda: os.sched_setaffinity(0, bench.proxy_cpu))
    if done.returncode != 0:
        return {str(size): {"errors": {done.stderr.strip() or "socket_floor failed": 1}} for size in sizes}
    found = json.loads(done.stdout.strip().splitlines()[-1])["cpu_us_per_exchange"]
    return {size: {"value": value, "errors": {}} for size, value in found.items()}


def cell(bench, axis, size):
    kind, targets, settings = situation(bench, axis, size)
    cpus = load = bench.proxy_cpu
    if axis.what == "workers":
        cpus = load = bench.both_cpus
    elif axis.load != "lone":
        load = bench.load_cpu
    bench.pin_backends(kind, load)
    try:
        with contextlib.ExitStack() as stack:
            port, pids = stack.enter_context(bench.proxy(axis.peer, targets, cpus=cpus, **settings))
            if axis.what == "streams":
                connections = max(1, size // PER_CONNECTION)
                idle = stack.enter_context(contextlib.closing(
                    IdleStreams(bench, port, connections, min(size, PER_CONNECTION), load)))
                idle.check()
            if axis.what == "targets":
                open_all(bench, port, targets)
            return measured(bench, port, pids, SHAPES[axis.load], load)
    except Failure as error:
        return {"errors": {str(error): 1}}
