#!/usr/bin/env python3
"""The load generator against the backends in every mode, briefly: smoke_test.py FOLDER_OF_THE_TOOLS

What it proves: each response passes the generator's checks, and operations are counted; and that a wrong
answer is noticed (a server that is none).
"""
import json
import os
import socket
import subprocess
import sys

MODES = (["--mode", "unary", "--connections", "3", "--streams", "20"],
         ["--mode", "unary", "--bytes", "16379", "--connections", "2", "--streams", "8"],
         ["--mode", "pingpong", "--connections", "2", "--streams", "10"],
         ["--mode", "bulk", "--bytes", "16384", "--streams", "2"],
         ["--mode", "bulk", "--bytes", "7", "--streams", "2"],
         ["--mode", "handshake", "--connections", "2"])


def load(folder, port, arguments):
    done = subprocess.run([folder + "/loadgen", "--plaintext", "--address", f"127.0.0.1:{port}", "--warmup", "0.1",
                           "--seconds", "0.3", *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout.strip().splitlines()[-1])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def check(folder, program, modes):
    port = free_port()
    backend = subprocess.Popen([folder + "/" + program, "--listen", f"127.0.0.1:{port}"], stdout=subprocess.PIPE)
    try:
        for _ in range(100):
            code, result = load(folder, port, [])
            if code == 0:
                break
        for mode in modes:
            code, result = load(folder, port, mode)
            if code != 0 or result["errors"] or result["operations"] == 0:
                sys.exit(f"{program} {mode}: exit code {code}, {result}")
            print("ok    ", program, " ".join(mode), result["operations"])
    finally:
        backend.terminate()
        backend.communicate()


def main():
    folder = sys.argv[1]
    check(folder, "backend", MODES)
    if os.path.exists(folder + "/grpc_backend"):
        check(folder, "grpc_backend", [m for m in MODES if "bulk" not in m])
    code, result = load(folder, free_port(), [])
    if code == 0 or not result["errors"]:
        sys.exit(f"nobody listens, and the generator says {result}")


main()
