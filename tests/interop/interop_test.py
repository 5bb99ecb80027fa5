#!/usr/bin/python3
"""gRPC interoperability through the balancer, TLS in front: one client language against servers of all three.

    interop_test.py cpp|python|node        Environment: WEIR_LB, WEIR_INTEROP (folder of the C++ programs)

Two targets of one language stand behind two workers. Between balancer and targets a relay counts octets, so that
compression is seen where it matters. Without npm or its registry, what needs Node is left out and said.
"""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import unittest

import grpc

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "lb"), HERE + "/python"]

import rig  # noqa: E402
import stubs  # noqa: E402

BUILT = os.environ.get("WEIR_INTEROP", rig.ROOT + "/build/dev/tests/interop")
CASES = ["empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
         "client_compressed_unary", "client_compressed_streaming", "server_compressed_unary",
         "server_compressed_streaming", "cancel_after_begin", "cancel_after_first_response",
         "timeout_on_sleeping_server", "status_code_and_message", "special_status_message", "custom_metadata",
         "unimplemented_method", "unimplemented_service", "rpc_soak", "channel_soak", "more_streams_than_allowed"]
CLIENT_COMPRESSED, SERVER_COMPRESSED = CASES[6:8], CASES[8:10]
PLAIN_OCTETS = 271828 + 74922  # what the two client_compressed cases would send without compression


def node_path():
    """The folder with @grpc/grpc-js, installed once for each lock file; None when that is not possible."""
    if shutil.which("npm") is None:
        return None
    source, folder = rig.ROOT + "/tests/clients/node", BUILT + "/node"
    os.makedirs(folder, exist_ok=True)
    with open(source + "/package-lock.json", "rb") as file:
        lock = file.read()
    mark = folder + "/installed.json"
    installed = b""
    if os.path.exists(mark):
        with open(mark, "rb") as file:
            installed = file.read()
    if installed != lock:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(f"{source}/{name}", folder)
        done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True,
                              timeout=180, check=False)
        if done.returncode != 0:
            print("npm ci:", done.stderr[-300:], flush=True)
            return None
        with open(mark, "wb") as file:
            file.write(lock)
    return folder + "/node_modules"


def command_of(language, part):
    if language == "cpp":
        return [f"{BUILT}/interop_{part}"]
    if language == "python":
        return ["/usr/bin/python3", "-B", f"{HERE}/python/{part}.py"]
    return ["node", f"{HERE}/node/{part}.js"]


class Relay:
    """TCP to `port`, with the octets counted: up[0] towards the target, up[1] from it."""

    def __init__(self, port):
        self.port, self.octets = port, [0, 0]
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.listens_on = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                return
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.carry, args=(near, far, 0), daemon=True).start()
            threading.Thread(target=self.carry, args=(far, near, 1), daemon=True).start()

    def carry(self, source, sink, way):
        try:
            while data := source.recv(1 << 18):
                with self.lock:
                    self.octets[way] += len(data)
                sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)  # wakes the other way, which closes its own socket
            except OSError:
                pass
        source.close()


class Interop(rig.Rig):
    client = "cpp"

    def environment(self):
        return {**os.environ, "NODE_PATH": self.modules or ""}

    def servers(self, language):
        """Ports of two servers."""
        ports = []
        for name in (f"{language}-1", f"{language}-2"):
            process = self.start([*command_of(language, "server"), name], stdout=subprocess.PIPE, text=True,
                                 env=self.environment())
            ports.append(int(re.search(r"port (\d+)", process.stdout.readline()).group(1)))
        return ports

    def run_client(self, port, cases):
        command = [*command_of(self.client, "client"), "--address", f"127.0.0.1:{port}", "--ca", self.ca, "--authority",
                   "weir.test", "--cases", ",".join(cases)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False, env=self.environment())
        self.assertTrue(done.stdout.strip(), f"{command}: {done.returncode} {done.stderr[-2000:]}")
        result = json.loads(done.stdout.strip().splitlines()[-1])
        self.assertEqual(result["failed"], {}, done.stderr[-1000:])
        self.assertEqual(result["passed"], cases)
        return result

    def counts(self, port):
        messages, services = STUBS
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            return services.InteropStub(channel).Count(messages.Nothing(), timeout=rig.LIMIT_S)

    def check_pair(self, language):
        self.modules = node_path() if "node" in (self.client, language) else None
        if "node" in (self.client, language) and self.modules is None:
            self.skipTest("no npm, or no registry")
        ports = self.servers(language)
        relays = [Relay(port) for port in ports]
        for relay in relays:
            self.addCleanup(relay.listener.close)
        lb = self.balancer([relay.listens_on for relay in relays], "--workers", "2")
        octets = {}
        for cases, way in ((CLIENT_COMPRESSED, 0), (SERVER_COMPRESSED, 1)):
            before = sum(relay.octets[way] for relay in relays)
            self.run_client(lb.port, cases)
            octets[way] = sum(relay.octets[way] for relay in relays) - before
        self.assertLess(octets[0], PLAIN_OCTETS / 5, "requests were not compressed")
        self.assertGreater(octets[0], 500)
        if language != "node":  # @grpc/grpc-js does not compress what servers send
            self.assertLess(octets[1], PLAIN_OCTETS / 5, "responses were not compressed")
        self.assertGreater(octets[1], 500)
        result = self.run_client(lb.port, [c for c in CASES if c not in CLIENT_COMPRESSED + SERVER_COMPRESSED])
        self.assertEqual(result["servers"], [f"{language}-1", f"{language}-2"], "one target got nothing")
        self.check_counts(ports)

    def check_counts(self, ports):
        """Both targets served; they heard of the cancelled call and of the deadline."""
        try:
            rig.wait_until(lambda: sum(self.counts(port).cancelled for port in ports) >= 2,
                           "the targets hear that clients have left", limit=15)
        except AssertionError as error:
            self.fail(f"{error}: {[self.counts(port) for port in ports]}")
        calls = [self.counts(port).calls for port in ports]
        self.assertGreater(min(calls), sum(calls) / 4, f"calls per target: {calls}")

    def test_with_servers_in_cpp(self):
        self.check_pair("cpp")

    def test_with_servers_in_python(self):
        self.check_pair("python")

    def test_with_servers_in_node(self):
        self.check_pair("node")


STUBS = stubs.load()

if __name__ == "__main__":
    Interop.client = sys.argv.pop(1)
    if Interop.client == "node" and node_path() is None:
        sys.exit(77)
    unittest.main(verbosity=2)
