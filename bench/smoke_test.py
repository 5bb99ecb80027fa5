#!/usr/bin/env python3
"""The measuring programs, briefly: smoke_test.py FOLDER_OF_THE_TOOLS WEIR

What it proves: each response passes the load generator's checks and operations are counted; a wrong answer is noticed;
idle streams are opened, used and counted; compare and idle run to their end on Weir and write what they promise; ratios
and gates are computed as they should.
"""
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from suite import report, results  # noqa: E402

MODES = (["--mode", "unary", "--connections", "3", "--streams", "20"],
         ["--mode", "unary", "--bytes", "16379", "--connections", "2", "--streams", "8"],
         ["--mode", "pingpong", "--connections", "2", "--streams", "10"],
         ["--mode", "bulk", "--bytes", "16384", "--streams", "2"],
         ["--mode", "bulk", "--bytes", "7", "--streams", "2"],
         ["--mode", "handshake", "--connections", "2"])


def expect(condition, what):
    if not condition:
        sys.exit(f"smoke_test: {what}")


def load(folder, port, arguments):
    done = subprocess.run([folder + "/loadgen", "--plaintext", "--address", f"127.0.0.1:{port}", "--warmup", "0.1",
                           "--seconds", "0.3", *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout.strip().splitlines()[-1])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def serving(folder, program, *more):
    port = free_port()
    backend = subprocess.Popen([folder + "/" + program, "--listen", f"127.0.0.1:{port}", *more],
                               stdout=subprocess.PIPE)
    try:
        for _ in range(100):
            if load(folder, port, [])[0] == 0:
                break
        yield port
    finally:
        backend.terminate()
        backend.communicate()


def check_modes(folder, program, modes):
    with serving(folder, program) as port:
        for mode in modes:
            code, result = load(folder, port, mode)
            expect(code == 0 and not result["errors"] and result["operations"] > 0,
                   f"{program} {mode}: exit code {code}, {result}")
            print("ok    ", program, " ".join(mode), result["operations"])
    code, result = load(folder, free_port(), [])
    expect(code != 0 and result["errors"], f"nobody listens, and the generator says {result}")


def check_idle_mode(folder):
    second = f"127.0.0.7:{free_port()}"
    with serving(folder, "backend", "--listen", second):
        done = subprocess.run([folder + "/loadgen", "--plaintext", "--address", second, "--mode", "idle",
                               "--connections", "20", "--sources", "3", "--warmup", "0.1", "--seconds", "30"],
                              input="open 9\nuse\n", capture_output=True, text=True, timeout=120, check=False)
    states = [json.loads(line) for line in done.stdout.splitlines()]
    expect([(s["idle"], s["replies"]) for s in states] == [(20, 20), (200, 200), (200, 400)] and done.returncode == 0,
           f"idle mode says {states}")
    print("ok     idle streams opened, used, counted")


def check_compare(folder, weir):
    with tempfile.TemporaryDirectory(prefix="weir-smoke-") as out:
        done = subprocess.run([sys.executable, HERE + "/compare", "--weir", weir, "--tools", folder, "--out", out,
                               "--peers", "weir,weir-full", "--scenarios", "s2u,s4,s6", "--rounds", "2", "--seconds",
                               "0.3", "--warmup", "0.1"], capture_output=True, text=True, timeout=300, check=False)
        expect(done.returncode == 0, f"compare: {done.stdout[-3000:]} {done.stderr[-2000:]}")
        last = json.loads(done.stdout.splitlines()[-1])
        for scenario in ("s2u", "s4", "s6"):
            for peer in ("weir", "weir-full"):
                expect(last["scenarios"][scenario][peer]["good_rounds"] == 2, f"{scenario} {peer}: {last['scenarios']}")
        expect("p50_us" in last["scenarios"]["s2u"]["direct"], "no latency without a proxy")
        expect({"report.md", "report.txt", "results.json"} <= set(os.listdir(out)), os.listdir(out))
        with open(out + "/report.md", encoding="utf-8") as f:
            expect("S2U: unary, one stream" in f.read(), "the report lacks a table")
    print("ok     compare")


def check_idle_program(folder, weir):
    done = subprocess.run([sys.executable, HERE + "/idle", "--weir", weir, "--tools", folder, "--streams", "1500",
                           "--connections", "5"], capture_output=True, text=True, timeout=200, check=False)
    expect(done.returncode == 0, f"idle: {done.stdout} {done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    expect((result["held"], result["answered"], result["lost"]) == (1500, 1500, 0), f"idle: {result}")
    print("ok     idle")


def check_verdicts():
    """Ratios are those of the same round; a failed round counts for nobody; a gate is not passed by absence."""
    def cells(*values):
        return [{"errors": {"failed": 1}} if v is None else {"value": v, "errors": {}} for v in values]
    rows = results.add_ratios(results.summary({"weir": cells(1, 2, None, 4), "nghttpx": cells(10, 10, 10, 80)}), "weir")
    expect(rows["nghttpx"]["ratio"] == 10 and rows["weir"]["ratio"] == 1, rows)
    expect((rows["weir"]["good_rounds"], rows["weir"]["errors"]) == (3, {"failed": 1}), rows)
    found = {"scenarios": {"s1": rows}, "syscalls": {}, "growth": {}, "instructions": {}, "instructions_growth": {},
             "socket_floor": {}}
    judged = {(g["kind"], g["what"]): g["state"] for g in results.gates(found) if g["of"] == "weir"}
    expect(judged[("gate", "S1 by nghttpx")] == "PASS" and judged[("gate", "S3 by nghttpx")] == "not measured", judged)
    rows["weir"]["values"] = [9, 9, None, 79]
    judged = {(g["kind"], g["what"]): g["state"] for g in results.gates(found) if g["of"] == "weir"}
    expect(judged[("gate", "S1 by nghttpx")] == "FAIL", judged)
    table = report.as_markdown(report.scenario_table("s1", rows))
    expect("1 of 4 rounds failed" in table and table.count("\n| nghttpx ") == 1, table)
    print("ok     ratios and gates")


def check_socket_floor(folder):
    done = subprocess.run([folder + "/socket_floor", "--connections", "1,20", "--rounds", "1", "--seconds", "0.1"],
                          capture_output=True, text=True, timeout=60, check=False)
    expect(done.returncode == 0, f"socket_floor: {done.stderr}")
    found = json.loads(done.stdout.strip().splitlines()[-1])["cpu_us_per_exchange"]
    expect(list(found) == ["1", "20"] and all(value > 0 for value in found.values()), f"socket_floor found {found}")
    done = subprocess.run([folder + "/socket_floor", "--connections", "0"], capture_output=True, text=True, timeout=60,
                          check=False)
    expect(done.returncode == 2, "socket_floor takes no connections at all")


def main():
    folder, weir = sys.argv[1:3]
    check_verdicts()
    check_socket_floor(folder)
    check_modes(folder, "backend", MODES)
    if os.path.exists(folder + "/grpc_backend"):
        check_modes(folder, "grpc_backend", [m for m in MODES if "bulk" not in m])
    check_idle_mode(folder)
    check_compare(folder, weir)
    check_idle_program(folder, weir)


main()
