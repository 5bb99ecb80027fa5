"""What the end-to-end tests share: the balancer's process, chat servers, certificates, a healthy client.

Environment: WEIR_LB (the program), WEIR_CHAT (folder of chat_server and chat_client; may be absent).
"""
import json
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import grpc

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LB = os.environ.get("WEIR_LB", ROOT + "/build/dev/tests/lb/weir_lb")
CHAT = os.environ.get("WEIR_CHAT", ROOT + "/build/dev/examples/chat")
SANITIZED = os.environ.get("WEIR_SANITIZED", "") not in ("", "OFF")
LIMIT_S = 30


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def wait_until(condition, what, limit=15):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit} s: {what}")
        time.sleep(0.02)


class Rig(unittest.TestCase):
    """Cleans up whatever a test started; a balancer that died fails the test with what it said."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="weir_lb_test_")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.ca = cls.folder.name + "/cert.pem"
        cls.key = cls.folder.name + "/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", cls.key, "-out", cls.ca, "-days", "2", "-subj", "/CN=weir.test", "-addext",
                        "subjectAltName=DNS:weir.test,IP:127.0.0.1"], check=True, capture_output=True)

    def setUp(self):
        self.processes = []

    def start(self, command, **keywords):
        process = subprocess.Popen(command, **keywords)
        self.processes.append(process)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()

    def balancer(self, targets, *options, tls=True, environment=None):
        return Balancer(self, targets, options, tls, environment)

    def chat_servers(self, count):
        if not os.path.exists(CHAT + "/chat_server"):
            self.skipTest("the chat example is not built")
        return [ChatServer(self, f"task-{i}") for i in range(count)]

    def channel(self, port, options=(), tls=True):
        usual = {"grpc.ssl_target_name_override": "weir.test", "grpc.enable_retries": 0,
                 "grpc.use_local_subchannel_pool": 1}
        options = list((usual | dict(options)).items())  # of an option given twice gRPC takes the first
        if tls:
            with open(self.ca, "rb") as file:
                channel = grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(file.read()), options)
        else:
            channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        self.addCleanup(channel.close)
        return channel


class Balancer:
    def __init__(self, test, targets, options, tls, environment):
        self.test, self.port = test, free_port()
        self.log = tempfile.TemporaryFile()
        test.addCleanup(self.log.close)
        command = [LB, "--listen", f"127.0.0.1:{self.port}", *options]
        if tls:
            command += ["--cert", test.ca, "--key", test.key]
        for port in targets:
            command += ["--target", f"127.0.0.1:{port}"]
        self.process = test.start(command, stderr=self.log, env={**os.environ, **(environment or {})})
        test.addCleanup(self.check)
        wait_until(lambda: self.process.poll() is not None or "listening on" in self.said(), "the balancer listens")
        self.expected_to_end = False

    def said(self):
        return os.pread(self.log.fileno(), 1 << 22, 0).decode(errors="replace")

    def check(self):
        if not self.expected_to_end and self.process.poll() is not None:
            raise AssertionError(f"the balancer ended with {self.process.returncode}:\n{self.said()[-4000:]}")
        if "Sanitizer" in self.said():
            raise AssertionError(self.said()[-8000:])

    def rss_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class ChatServer:
    def __init__(self, test, name):
        self.name = name
        self.process = test.start([CHAT + "/chat_server", "--address", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True,
                                  env=dict(os.environ, TASK_ID=name))
        self.port = int(re.search(r"port (\d+)", self.process.stdout.readline()).group(1))


def run_chat_client(test, port, *arguments, expect_ok=True):
    command = [CHAT + "/chat_client", arguments[0], "--address", f"127.0.0.1:{port}", "--ca", test.ca, "--authority",
               "weir.test", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.strip().splitlines()
    if expect_ok and done.returncode != 0:
        raise AssertionError(f"{command}: exit code {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return json.loads(lines[-1])


class HealthyClient:
    """Unary calls one after another on an own connection while something bad happens beside it."""

    def __init__(self, test, port, method="/test.Test/Call", tls=True):
        self.call = test.channel(port, tls=tls).unary_unary(method)
        self.calls, self.failures, self.slowest = 0, [], 0.0
        self.stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.stopping:
            began = time.monotonic()
            try:
                self.call(b"hello", timeout=LIMIT_S)
                self.calls += 1
            except grpc.RpcError as error:
                self.failures.append(f"{error.code()}: {error.details()}")
            self.slowest = max(self.slowest, time.monotonic() - began)
            time.sleep(0.005)

    def __enter__(self):
        self.call(b"warm up", timeout=LIMIT_S)
        self.thread.start()
        return self

    def __exit__(self, *unused):
        time.sleep(0.1)
        self.stopping = True
        self.thread.join()
