"""What is measured on every peer: the scenarios, and one measurement of each kind."""
import contextlib
import json
import os
import subprocess
import time
from typing import NamedTuple

from .rig import Failure, pss_kib


class Scenario(NamedTuple):
    title: str
    unit: str
    load: list            # the load generator's options
    backend: str = "raw"  # or real grpc++ servers
    apart: bool = True    # the load has a cpu of its own
    lone: bool = False    # one stream: its latency is compared with the way without a proxy


def shape(mode, connections=1, streams=1):
    return ["--mode", mode, "--connections", str(connections), "--streams", str(streams)]


SCENARIOS = {
    "s1": Scenario("unary 100 B, 10 connections x 32 streams", "us/RPC", shape("unary", 10, 32)),
    "s1w": Scenario("unary 100 B, 300 connections x 1 stream", "us/RPC", shape("unary", 300)),
    "s1r": Scenario("as s1, grpc++ servers as targets", "us/RPC", shape("unary", 10, 32), "grpc"),
    "s2": Scenario("unary, one stream, load on another cpu", "us/RPC", shape("unary"), lone=True),
    "s2u": Scenario("unary, one stream, all on one cpu", "us/RPC", shape("unary"), apart=False, lone=True),
    "s3": Scenario("bidi ping-pong 100 B, 4 connections x 25 streams", "us/message", shape("pingpong", 4, 25)),
    "s3w": Scenario("bidi ping-pong 100 B, 300 connections x 1 stream", "us/message", shape("pingpong", 300)),
    "s3r": Scenario("as s3, grpc++ servers as targets", "us/message", shape("pingpong", 4, 25), "grpc"),
    "s4": Scenario("server streaming of 16 KiB messages, 2 connections x 2 streams", "ms/GiB",
                   shape("bulk", 2, 2) + ["--bytes", "16384", "--path", "/bench.Bulk/Call", "--max-ops",
                                          str(64 << 30)]),
    "s5": Scenario("idle bidi streams", "KiB/stream", []),
    "s6": Scenario("a new TLS connection for each RPC, 8 at a time", "us/connection",
                   shape("handshake", 8) + ["--max-ops", "20000"]),
}
QUICK = ["s1", "s1w", "s1r", "s2u", "s3", "s3r", "s4", "s5", "s6"]
DIRECT = "direct"


def measured(bench, port, pids, arguments, cpus, unit="us/RPC"):
    """One window: CPU time of `pids` per operation, as the kernel accounts it."""
    seconds = bench.options.seconds
    watch = ["--watch", ",".join(map(str, pids))] if pids else ["--plaintext"]
    result = bench.load(port, [*arguments, "--warmup", str(bench.options.warmup), "--seconds", str(seconds), *watch],
                        cpus, seconds + 90)
    if result["errors"] or result["operations"] == 0:
        return {"errors": result["errors"] or {"no operation ended": 1}}
    cell = {"operations": result["operations"], "rate": result["operations"] / result["seconds"],
            "p50_us": result["p50_us"], "p99_us": result["p99_us"], "errors": {}}
    if pids:
        scale = (1 << 30) / 1000 if unit == "ms/GiB" else 1
        cell["value"] = result["watched_cpu_us"] / result["operations"] * scale
        cell["busy"] = result["watched_cpu_us"] / 1e6 / result["seconds"]
    return cell


def cell(bench, name, peer):
    """One scenario on one fresh proxy."""
    scenario = SCENARIOS[name]
    cpus = bench.load_cpu if scenario.apart else bench.proxy_cpu
    bench.pin_backends(scenario.backend, cpus)
    try:
        if name == "s5":
            return idle_cell(bench, peer)
        with bench.proxy(peer, bench.targets[scenario.backend]) as (port, pids):
            return measured(bench, port, pids, scenario.load, cpus, scenario.unit)
    except Failure as error:
        return {"errors": {str(error): 1}}


class IdleStreams:
    """The load generator in its idle mode: it opens streams, and uses them when told to."""

    def __init__(self, bench, port, connections, streams, cpus, seconds=30, more=()):
        self.process = bench.loadgen(port, [*shape("idle", connections, streams), "--warmup", "0.2", "--seconds",
                                            str(seconds), *more], cpus, stdin=subprocess.PIPE)
        self.state = self.answer()

    def answer(self):
        return json.loads(self.process.stdout.readline() or '{"idle": 0, "wanted": 1, "replies": 0, "errors": {}}')

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        self.state = self.answer()
        return self.state

    def check(self):
        if self.state["idle"] != self.state["wanted"] or self.state["errors"]:
            raise Failure(f"only {self.state['idle']} of {self.state['wanted']} streams are up, "
                          f"{self.state['errors']}")

    def close(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def settled_memory(pids):
    """PSS once it does not fall any more: buffers go back a moment after the last byte."""
    least = pss_kib(pids)
    for _ in range(10):
        time.sleep(0.5)
        now = pss_kib(pids)
        if now >= least * 0.998:
            return min(now, least)
        least = now
    return least


def held_memory(bench, peer, connections, streams):
    """PSS of a fresh proxy that holds so many idle streams, in KiB."""
    with bench.proxy(peer, bench.targets["raw"]) as (port, pids), \
            contextlib.closing(IdleStreams(bench, port, connections, 1, bench.load_cpu)) as idle:
        if streams > 1:  # a few at a time: the buffers of a burst are not what an idle stream costs
            idle.tell(f"open {streams - 1}")
        idle.check()
        return settled_memory(pids)


def idle_cell(bench, peer):
    few, many, wide = (held_memory(bench, peer, *size) for size in ((100, 1), (100, 100), (1000, 1)))
    per_stream = (many - few) / 9900
    # Of half a kilobyte, what a process needs once would be a fifth. Peers need kilobytes, and nginx has a descriptor
    # for every stream.
    if peer.startswith("weir"):
        per_stream = (held_memory(bench, peer, 1000, 100) - wide) / 99000
    return {"value": per_stream, "connection_kib": (wide - few) / 900, "total_mib": many / 1024,
            "errors": {}}


def can_trace():
    """What can count the system calls of a process here: perf (cheap), strace (slows it down), or nothing."""
    with contextlib.suppress(OSError):
        tried = subprocess.run(["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "true"], capture_output=True,
                               text=True, check=False)
        if tried.returncode == 0 and tried.stderr.split(",")[0].strip().isdigit():
            return "perf"
    with contextlib.suppress(OSError):
        return "strace" if subprocess.run(["strace", "-V"], capture_output=True, check=False).returncode == 0 else None
    return None


def system_calls(bench, name, peer, tracer):
    """System calls of the proxy per operation."""
    scenario = SCENARIOS[name]
    cpus = bench.load_cpu if scenario.apart else bench.proxy_cpu
    bench.pin_backends(scenario.backend, cpus)
    out = f"{bench.folder}/syscalls"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(out)
    try:
        with bench.proxy(peer, bench.targets[scenario.backend]) as (port, pids):
            who = ",".join(map(str, pids))
            start = f"perf stat -x, -e raw_syscalls:sys_enter -o {out} -p {who}"
            if tracer == "strace":
                start = f"strace -c -f -o {out} " + " ".join(f"-p {pid}" for pid in pids)
            begin = f"{start} > /dev/null 2>&1 & echo $! > {out}.pid; sleep 0.3"
            end = f"p=$(cat {out}.pid); kill -INT $p; while kill -0 $p 2> /dev/null; do sleep 0.02; done"
            result = bench.load(port, [*scenario.load, "--warmup", str(bench.options.warmup), "--seconds", "1.5",
                                       "--begin-command", begin, "--end-command", end], cpus, 60)
    except Failure as error:
        return {"errors": {str(error): 1}}
    if result["errors"] or result["operations"] == 0:
        return {"errors": result["errors"]}
    calls = 0
    with open(out, encoding="utf-8", errors="replace") as f:
        for line in f:
            if tracer == "perf" and "sys_enter" in line:
                calls = int(line.split(",")[0])
            elif tracer == "strace" and line.rstrip().endswith(" total"):
                calls = int(line.split()[3])
    return {"value": calls / result["operations"], "operations": result["operations"], "errors": {}}


def instructions(bench, peer, mode, connections, streams, kind="raw", targets=None, operations=20000, before=None,
                 **settings):
    """User instructions of Weir per operation, by callgrind, in a steady state. Under valgrind the proxy is the
    slow one, so batches are deep: up to half the streams, as there are two targets."""
    out = f"{bench.folder}/callgrind.{peer}.{mode}.{connections}.{streams}"
    prefix = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=" + out]
    bench.pin_backends(kind, bench.load_cpu)
    try:
        with bench.proxy(peer, targets or bench.targets[kind], prefix=prefix, patience=90, **settings) as (port, pids):
            if before:
                before(port)
            switch = f"callgrind_control -i {{}} {pids[0]} > /dev/null 2>&1"
            result = bench.load(port, [*shape(mode, connections, streams), "--warmup", "2", "--seconds", "30",
                                       "--max-ops", str(operations), "--begin-command", switch.format("on"),
                                       "--end-command", switch.format("off")], bench.load_cpu, 120)
    except Failure as error:
        return {"errors": {str(error): 1}}
    if result["errors"] or result["operations"] == 0:
        return {"errors": result["errors"]}
    sums = {}
    with open(out, encoding="utf-8", errors="replace") as f:
        for line in f:
            if line.startswith(("summary:", "totals:")):
                sums[line.split(":")[0]] = int(line.split()[1])
    return {"value": round(sums.get("totals", sums.get("summary", 0)) / result["operations"]),
            "operations": result["operations"], "errors": {}}
