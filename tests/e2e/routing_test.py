#!/usr/bin/env python3
"""What a template says of listeners, rules, certificates and attributes, as a gRPC client meets it. The servers are
real gRPC servers of this process (Debian: python3-grpcio); the rest is the real binary."""
import concurrent.futures
import json
import os
import queue
import socket
import ssl
import subprocess
import sys
import time
import unittest

import grpc

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import ROOT, Machine, wait_until  # noqa: E402

TEMPLATE = os.path.join(ROOT, "tests", "e2e", "routing.yaml")
LIMIT_S = 20


class Server(grpc.GenericRpcHandler):
    """Answers every method with its name and what it received; streams echo behind the name."""

    def __init__(self, name, credentials=None):
        self.name, self.fails, self.calls = name, False, 0
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(32), handlers=[self],
                                  options=[("grpc.so_reuseport", 0)])
        if credentials:
            self.port = self.server.add_secure_port("127.0.0.1:0", credentials)
        else:
            self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def service(self, details):
        if details.method == "/grpc.health.v1.Health/Check":
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")
        if details.method.endswith("/Stream"):
            return grpc.stream_stream_rpc_method_handler(self.stream)
        return grpc.unary_unary_rpc_method_handler(self.call)

    def call(self, request, context):
        self.calls += 1
        if self.fails:
            context.abort(grpc.StatusCode.UNAVAILABLE, "made to fail")
        return json.dumps({"server": self.name, **{k: str(v) for k, v in context.invocation_metadata()}}).encode()

    def stream(self, requests, context):
        for request in requests:
            yield self.name.encode() + b" " + request


def self_signed(folder):
    """Credentials that nobody should trust: the balancer does not ask for more (as ALB)."""
    key, certificate = os.path.join(folder, "key.pem"), os.path.join(folder, "certificate.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=nobody", "-keyout", key, "-out", certificate], check=True,
                   capture_output=True)
    with open(key, "rb") as k, open(certificate, "rb") as c:
        return grpc.ssl_server_credentials([(k.read(), c.read())])


class Routing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.machine = Machine()
        cls.addClassCleanup(cls.machine.close)
        cls.servers = [Server(name) for name in ("one", "two", "three")]
        cls.servers.append(Server("secure", self_signed(cls.machine.state)))
        for server in cls.servers:
            cls.addClassCleanup(server.server.stop, 0)
        cls.machine.start_serve()
        vpc = cls.describe("Vpcs")[0]["VpcId"]
        subnets = [s["SubnetId"] for s in cls.describe("Subnets") if s["VpcId"] == vpc]
        cls.fixed = {"VpcId": vpc, "SubnetIds": ",".join(subnets[:2])} | {
            f"Port{name}": server.port for name, server in zip(("One", "Two", "Three", "Secure"), cls.servers)}
        cls.up()
        with open(cls.machine.ca(), "rb") as f:
            cls.roots = f.read()

    @classmethod
    def describe(cls, what):
        return json.loads(cls.machine.ask("POST", "/", "{}", **{"X-Amz-Target": "AmazonEC2.Describe" + what}))[what]

    @classmethod
    def up(cls, **parameters):
        usual = {"WeightOfOne": 1, "WeightOfTwo": 0, "Strict": "false", "StreamIdleSeconds": "0"}  # else the latest stay
        cls.machine.up(template=TEMPLATE, **(cls.fixed | usual | parameters))
        wait_until("healthy targets", lambda: cls.machine.target_states() == ["healthy"] * 4, 30)

    def setUp(self):
        for server in self.servers:
            server.fails = False

    def channel(self, name="a.example.com"):
        options = [("grpc.ssl_target_name_override", name), ("grpc.enable_retries", 0),
                   ("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.secure_channel(f"127.0.0.1:{self.machine.port}", grpc.ssl_channel_credentials(self.roots), options)
        self.addCleanup(channel.close)
        return channel

    def call(self, channel, method="/test.Any/Call", metadata=()):
        return json.loads(channel.unary_unary(method)(b"", timeout=LIMIT_S, metadata=metadata))

    def refused(self, channel, method):
        with self.assertRaises(grpc.RpcError) as caught:
            self.call(channel, method)
        return caught.exception

    def test_rules_choose_the_target_group(self):
        channel = self.channel()
        self.assertEqual({self.call(channel)["server"] for _ in range(10)}, {"one"})
        self.assertEqual({self.call(channel, "/test.Two/Call")["server"] for _ in range(10)}, {"two", "three"})
        self.assertEqual(self.call(channel, "/test.Secure/Call")["server"], "secure")  # over TLS
        for value, servers in (("canary", {"two", "three"}), ("beta-1", {"two", "three"}), ("stable", {"one"})):
            seen = {self.call(channel, metadata=[("x-env", value)])["server"] for _ in range(10)}
            self.assertEqual(seen, servers, value)
        self.assertEqual({self.call(self.channel("x.b.example.com"))["server"] for _ in range(10)}, {"two", "three"})

    def test_attributes_of_the_load_balancer_shape_the_request_head(self):
        seen = self.call(self.channel())
        self.assertRegex(seen["x-forwarded-for"], r"^127\.0\.0\.1:\d+$")
        self.assertEqual((seen["x-forwarded-proto"], seen["x-forwarded-port"]), ("https", "443"))
        self.assertEqual(seen["x-amzn-tls-version"], "TLSv1.3")
        self.assertRegex(seen["x-amzn-trace-id"], "^Root=1-")

    def test_the_certificate_follows_the_name_and_the_policy_its_versions(self):
        context = ssl.create_default_context(cadata=self.roots.decode())
        context.set_alpn_protocols(["h2"])
        for name, wanted in (("a.example.com", "a.example.com"), ("x.b.example.com", "*.b.example.com")):
            with socket.create_connection(("127.0.0.1", self.machine.port), LIMIT_S) as plain:
                with context.wrap_socket(plain, server_hostname=name) as tls:
                    self.assertIn(("DNS", wanted), tls.getpeercert()["subjectAltName"])
                    self.assertEqual((tls.version(), tls.selected_alpn_protocol()), ("TLSv1.3", "h2"))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(("127.0.0.1", self.machine.port), LIMIT_S) as plain:
            with self.assertRaises(ssl.SSLError):
                context.wrap_socket(plain, server_hostname="a.example.com")

    def test_a_retry_policy_hides_a_target_that_fails(self):
        self.servers[1].fails = True
        before = self.servers[1].calls
        channel = self.channel()
        self.assertEqual({self.call(channel, "/test.Two/Call")["server"] for _ in range(8)}, {"three"})
        self.assertGreater(self.servers[1].calls, before)
        self.servers[0].fails = True  # its group has no policy
        self.assertEqual(self.refused(channel, "/test.Any/Call").details(), "made to fail")

    def test_fixed_responses_and_strict_mode_speak_as_the_template_says(self):
        channel = self.channel()
        error = self.refused(channel, "/test.Fixed/Call")
        self.assertEqual((error.code(), error.details()), (grpc.StatusCode.PERMISSION_DENIED, "no entry"))
        self.up(Strict="true")
        self.addCleanup(self.up)
        wait_until("HTTP instead", lambda: "403" in self.refused(channel, "/test.Fixed/Call").details())
        self.assertEqual(self.call(channel)["server"], "one")

    def test_an_update_moves_new_calls_and_no_stream(self):
        channel = self.channel()
        messages = queue.SimpleQueue()
        stream = channel.stream_stream("/test.Any/Stream")(iter(messages.get, None), timeout=120)
        messages.put(b"before")
        self.assertEqual(next(stream), b"one before")
        self.up(WeightOfOne=0, WeightOfTwo=1)
        self.addCleanup(self.up)
        wait_until("the other group", lambda: self.call(channel)["server"] != "one")
        self.assertLessEqual({self.call(channel)["server"] for _ in range(10)}, {"two", "three"})
        for number in range(20):
            messages.put(b"%d" % number)
            self.assertEqual(next(stream), b"one %d" % number)
        messages.put(None)
        self.assertEqual(list(stream), [])
        self.assertEqual(stream.code(), grpc.StatusCode.OK)

    def test_an_idle_timeout_of_a_group_ends_its_quiet_streams(self):
        channel = self.channel()
        messages = queue.SimpleQueue()
        self.addCleanup(messages.put, None)
        messages.put(b"hello")
        self.up(StreamIdleSeconds="2")
        self.addCleanup(self.up)
        stream = channel.stream_stream("/test.Any/Stream")(iter(messages.get, None), timeout=120)
        self.assertEqual(next(stream), b"one hello")
        began = time.monotonic()
        with self.assertRaises(grpc.RpcError):
            next(stream)
        self.assertEqual(stream.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertIn("idle timeout", stream.details())
        self.assertGreater(time.monotonic() - began, 1.5)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("needs root")
        sys.exit(77)
    unittest.main(verbosity=2)
