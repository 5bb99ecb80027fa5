"""TLS towards clients and targets: policies, certificates, tickets, and what a change of them does to connections."""
import concurrent.futures
import contextlib
import socket
import ssl
import struct
import subprocess
import threading
import time
import unittest

import grpc

import link as L
from h2wire import PREFACE, Target, open_client, settings_bytes
from link import Link
from rig import LB, LIMIT_S, Rig, wait_until

ARN = "listener"
V = ssl.TLSVersion
ECDHE_ECDSA = "ECDHE-ECDSA-AES128"


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        name = details.method.rsplit("/", 1)[1]
        if name == "Check":
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")
        if name == "Echo":
            return grpc.stream_stream_rpc_method_handler(lambda requests, context: requests)
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request)


def certificate(folder, name, key=("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"), days=2):
    """A self-signed certificate: (chain, key) as files."""
    files = f"{folder}/{name}.pem", f"{folder}/{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-keyout", files[1], "-out", files[0], "-days",
                    str(days), "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:" + name.split("~")[0]],
                   check=True, capture_output=True)
    return files


def grpc_server(test, credentials=None):
    """A stock gRPC server; its port."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(50), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([Echo()])
    if credentials:
        with open(credentials[0], "rb") as chain, open(credentials[1], "rb") as key:
            made = grpc.ssl_server_credentials([(key.read(), chain.read())])
        port = server.add_secure_port("127.0.0.1:0", made)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    test.addCleanup(lambda: server.stop(0).wait())
    return port


class Shaken:
    """A TLS handshake by Python's ssl, and what came of it."""

    def __init__(self, test, port, sni="a.example", low=V.TLSv1_2, high=V.TLSv1_3, ciphers="ALL", before=None):
        self.context = before.context if before else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if not before:
            self.context.check_hostname = False
            self.context.verify_mode = ssl.CERT_NONE
            self.context.set_ciphers(ciphers + ":@SECLEVEL=0")
            self.context.minimum_version, self.context.maximum_version = low, high
            self.context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
        self.sock = self.context.wrap_socket(plain, server_hostname=sni, session=before.session if before else None)
        test.addCleanup(self.sock.close)
        self.sock.sendall(PREFACE + settings_bytes({}))
        self.sock.recv(1)  # its SETTINGS, and before them the ticket
        self.session, self.reused = self.sock.session, self.sock.session_reused
        self.cipher = self.sock.cipher()[0]

    def subject(self):
        pem = ssl.DER_cert_to_PEM_cert(self.sock.getpeercert(True))
        done = subprocess.run(["openssl", "x509", "-noout", "-subject"], input=pem, capture_output=True, text=True,
                              check=True)
        return done.stdout.strip().rsplit(" ", 1)[1]


class Driven(Rig):
    """A balancer of two workers with an HTTPS listener, driven over the link."""

    def setUp(self):
        super().setUp()
        self.path = f"{self.folder.name}/{self.id().rsplit('.', 1)[1][-40:]}.sock"
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.sock.setblocking(False)
        self.addCleanup(self.sock.close)
        self.port = self.sock.getsockname()[1]
        self.lb = self.start([LB, "--link", self.path, "--workers", "2"], stderr=subprocess.DEVNULL)
        self.link = Link(self.path)
        self.addCleanup(self.link.close)
        self.link.send(L.OPEN, L.listener_socket(ARN, "127.0.0.1", self.port), [self.sock.fileno()])
        self.generation = 0
        self.targets = []

    def apply(self, certificates, policy="TLS13-1-2-2021-06", idle_ms=60000, applied=True):
        """certificates: names of files made by certificate(); the first is the default."""
        def each(name):
            with open(f"{self.folder.name}/{name}.pem", encoding="ascii") as chain:
                with open(f"{self.folder.name}/{name}.key", encoding="ascii") as key:
                    return L.record(L.text("arn:" + name) + L.text(chain.read()) + L.text(key.read()) +
                                    L.items([name.split("~")[0]], L.text))
        listener = L.record(L.text(ARN) + struct.pack("<HB", 443, True) + L.text("ELBSecurityPolicy-" + policy) +
                            L.items(certificates, each) + L.items([], L.text) + L.forward())
        self.generation += 1
        self.link.send(L.SNAPSHOT, L.snapshot(self.generation, [listener], [L.group(self.targets, in_use=False)], idle_ms))
        if applied:
            self.link.wait(lambda: self.link.applied >= self.generation, what=f"Applied {self.generation}")

    def make(self, *names, **keywords):
        for name in names:
            certificate(self.folder.name, name, **keywords)

    def subject(self, **keywords):
        return Shaken(self, self.port, **keywords).subject()


class Listeners(Driven):
    def test_a_policy_decides_versions_and_suites(self):
        self.make("a.example")
        cases = [
            ("2016-08", {}, ("TLSv1.2", ECDHE_ECDSA + "-GCM-SHA256")),  # no TLS 1.3
            ("2016-08", {"low": V.TLSv1, "high": V.TLSv1}, ("TLSv1", ECDHE_ECDSA + "-SHA")),
            ("2016-08", {"low": V.TLSv1_1, "high": V.TLSv1_1}, ("TLSv1.1", ECDHE_ECDSA + "-SHA")),
            ("2016-08", {"low": V.TLSv1_3}, None),
            # The server's order, and suites that HTTP/2 forbids: offered as ALB does.
            ("2016-08", {"ciphers": f"ECDHE-ECDSA-AES256-GCM-SHA384:{ECDHE_ECDSA}-SHA256"},
             ("TLSv1.2", ECDHE_ECDSA + "-SHA256")),
            ("FS-1-2-Res-2020-10", {"ciphers": f"{ECDHE_ECDSA}-SHA256", "high": V.TLSv1_2}, None),
            ("TLS-1-1-2017-01", {"low": V.TLSv1, "high": V.TLSv1}, None),
            ("TLS13-1-2-2021-06", {}, ("TLSv1.3", "TLS_AES_128_GCM_SHA256")),
            ("TLS13-1-3-2021-06", {}, ("TLSv1.3", "TLS_AES_128_GCM_SHA256")),
            ("TLS13-1-3-2021-06", {"high": V.TLSv1_2}, None),
            ("TLS13-1-2-Res-PQ-2025-09", {"high": V.TLSv1_2}, ("TLSv1.2", ECDHE_ECDSA + "-GCM-SHA256")),
            ("TLS13-1-2-FIPS-2023-04", {}, ("TLSv1.3", "TLS_AES_128_GCM_SHA256")),
        ]
        for policy, client, expected in cases:
            with self.subTest(policy=policy, client=client):
                self.apply(["a.example"], policy)
                if expected is None:
                    with self.assertRaises((ssl.SSLError, ConnectionError)):
                        Shaken(self, self.port, **client)
                    continue
                shaken = Shaken(self, self.port, **client)
                self.assertEqual((shaken.sock.version(), shaken.cipher), expected)

    def test_certificates_are_chosen_by_server_name_and_quality(self):
        self.make("a.example", "b.example")
        self.make("c.example~rsa", key=("rsa:2048",))
        self.make("c.example~ec")
        self.apply(["a.example", "b.example", "c.example~rsa", "c.example~ec"])
        self.assertEqual(self.subject(sni="b.example"), "b.example")
        self.assertEqual(self.subject(sni="nobody.example"), "a.example")
        self.assertEqual(self.subject(sni=None), "a.example")
        self.assertEqual(self.subject(sni="c.example"), "c.example~ec")
        rsa_only = {"high": V.TLSv1_2, "ciphers": "ECDHE-RSA-AES128-GCM-SHA256"}
        self.assertEqual(self.subject(sni="c.example", **rsa_only), "c.example~rsa")

    def test_sessions_are_resumed_by_the_other_worker_and_after_changes_that_keep_the_certificates(self):
        self.make("a.example", "b.example", "n.example")
        for high, name in ((V.TLSv1_2, "TLSv1.2"), (V.TLSv1_3, "TLSv1.3")):
            with self.subTest(version=name):
                self.apply(["a.example"])
                first = Shaken(self, self.port, high=high)
                self.assertFalse(first.reused)
                # Held open, so that the next ones go to both workers.
                second, third = (Shaken(self, self.port, before=first) for _ in range(2))
                self.assertTrue(second.reused and third.reused)
                self.apply(["a.example"], idle_ms=50000)
                self.assertTrue(Shaken(self, self.port, before=second).reused, "after a change of something else")
                self.apply(["a.example", "b.example"], idle_ms=50000)
                self.assertTrue(Shaken(self, self.port, before=second).reused, "after a certificate was added")
                self.apply(["n.example"], idle_ms=50000)
                self.assertFalse(Shaken(self, self.port, before=second).reused, "the certificate is gone")
                for each in (first, second, third):
                    each.sock.close()

    def test_a_change_of_certificates_and_policy_does_not_touch_running_streams(self):
        self.make("a.example", "b.example")
        port = grpc_server(self)
        self.targets = [L.target(port, last="healthy")]
        self.apply(["a.example"])
        with open(f"{self.folder.name}/a.example.pem", "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        channel = grpc.secure_channel(f"127.0.0.1:{self.port}", credentials,
                                      [("grpc.ssl_target_name_override", "a.example")])
        self.addCleanup(channel.close)
        waiting = threading.Semaphore(0)
        done = threading.Event()

        def requests():
            for i in range(1000):
                waiting.acquire()
                if done.is_set():
                    return
                yield b"%d" % i
        answers = channel.stream_stream("/test.Test/Echo")(requests(), timeout=60)
        waiting.release()
        self.assertEqual(next(answers), b"0")
        for i, names in enumerate((["b.example"], ["b.example", "a.example"], ["a.example"], ["b.example"]), 1):
            self.apply(names, "TLS13-1-3-2021-06" if i % 2 else "2016-08")
            waiting.release()
            self.assertEqual(next(answers), b"%d" % i)
            self.assertEqual(channel.unary_unary("/test.Test/Call")(b"x", timeout=LIMIT_S), b"x")
            self.assertEqual(self.subject(sni=None), names[0])
        done.set()
        waiting.release()
        self.assertEqual(list(answers), [])

    def test_a_snapshot_whose_certificate_does_not_load_changes_nothing(self):
        self.make("a.example", "bad.example")
        with open(f"{self.folder.name}/bad.example.key", "w", encoding="ascii") as file:
            file.write("nonsense")
        self.apply(["a.example"])
        self.apply(["bad.example"], applied=False)
        self.link.settle(0.5)
        self.assertEqual(self.link.applied, 1)
        self.assertEqual(self.subject(), "a.example")


class ToTargets(Rig):
    def start_balancer(self, ports, *options):
        targets = [x for port in ports for x in ("--target", f"https://127.0.0.1:{port}")]
        return self.balancer([], *targets, *options)

    def credentials(self, name="target.example", **keywords):
        return certificate(self.folder.name, name, **keywords)

    def test_calls_reach_grpc_servers_over_tls_whose_certificates_nobody_trusts(self):
        servers = [grpc_server(self, self.credentials(f"t{i}.example", key=key)) for i, key in
                   enumerate((("rsa:2048",), ("ec", "-pkeyopt", "ec_paramgen_curve:secp384r1")))]
        lb = self.start_balancer(servers, "--health-check-path", "/grpc.health.v1.Health/Check")
        wait_until(lambda: lb.said().count("state=healthy") == 2, "checks over TLS make the targets healthy")
        channel = self.channel(lb.port)
        for size in (0, 1, 100, 100_000, 3_000_000):
            self.assertEqual(channel.unary_unary("/test.Test/Call")(b"x" * size, timeout=LIMIT_S), b"x" * size)
        messages = [b"%d" % i * 1000 for i in range(300)]
        echoed = channel.stream_stream("/test.Test/Echo")(iter(messages), timeout=LIMIT_S)
        self.assertEqual(list(echoed), messages)

    def test_a_target_that_speaks_no_tls_is_told_of_and_left_out(self):
        plain, good = grpc_server(self), grpc_server(self, self.credentials())
        lb = self.start_balancer([plain])
        with self.assertRaises(grpc.RpcError) as caught:
            self.channel(lb.port).unary_unary("/test.Test/Call")(b"x", timeout=LIMIT_S)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertIn("TLS handshake with the target failed", caught.exception.details())
        mixed = self.start_balancer([plain, good])
        call = self.channel(mixed.port).unary_unary("/test.Test/Call")
        for _ in range(50):  # no target has seen a request whose handshake failed: it goes to another one
            self.assertEqual(call(b"x", timeout=LIMIT_S), b"x")

    def test_a_target_that_does_not_choose_h2_is_an_error_that_says_so(self):
        files = self.credentials()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        context.set_alpn_protocols(["http/1.1"])
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def serve():
            while True:
                with contextlib.suppress(ssl.SSLError, ConnectionError):
                    try:
                        sock, _ = listener.accept()
                    except OSError:
                        return
                    context.wrap_socket(sock, server_side=True).close()
        threading.Thread(target=serve, daemon=True).start()
        lb = self.start_balancer([listener.getsockname()[1]], "--health-check-path", "/grpc.health.v1.Health/Check")
        with self.assertRaises(grpc.RpcError) as caught:
            self.channel(lb.port).unary_unary("/test.Test/Call")(b"x", timeout=LIMIT_S)
        self.assertIn("h2 by ALPN", caught.exception.details())

    def test_a_target_that_never_answers_the_handshake_is_given_up_after_ten_seconds(self):
        silent = Target(lambda wire, target: time.sleep(60), greet=False)
        self.addCleanup(silent.close)
        lb = self.start_balancer([silent.port])
        began = time.monotonic()
        with self.assertRaises(grpc.RpcError) as caught:
            self.channel(lb.port).unary_unary("/test.Test/Call")(b"x", timeout=120)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertIn("TLS handshake with the target failed: timed out", caught.exception.details())
        self.assertGreater(time.monotonic() - began, 8)

    def test_later_connections_to_a_target_resume_its_session(self):
        files = self.credentials()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        context.set_alpn_protocols(["h2"])
        reused = []
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def serve():
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with context.wrap_socket(sock, server_side=True) as session:
                    reused.append(session.session_reused)
                    session.sendall(settings_bytes({}))
                    session.settimeout(LIMIT_S)
                    with contextlib.suppress(OSError):
                        seen = b""
                        while len(seen) < 100:
                            seen += session.recv(1 << 16)
        threading.Thread(target=serve, daemon=True).start()
        lb = self.start_balancer([listener.getsockname()[1]], "--workers", "1")
        call = self.channel(lb.port).unary_unary("/test.Test/Call")
        for _ in range(3):
            with self.assertRaises(grpc.RpcError):  # the server hangs up on it
                call(b"x", timeout=LIMIT_S)
        wait_until(lambda: len(reused) >= 3, "three connections")
        self.assertFalse(reused[0])
        self.assertTrue(all(reused[1:3]), reused)

    def test_targets_over_tls_and_cleartext_do_not_mix_on_the_command_line(self):
        done = subprocess.run([LB, "--listen", "127.0.0.1:1", "--target", "https://127.0.0.1:2", "--target", "127.0.0.1:3"],
                              capture_output=True, text=True, timeout=LIMIT_S, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("all targets https:// or none", done.stderr)


class Handshakes(Rig):
    def test_a_hundred_handshakes_that_never_end_do_not_disturb_a_client(self):
        port = grpc_server(self)
        lb = self.balancer([port])
        stuck = [socket.create_connection(("127.0.0.1", lb.port)) for _ in range(100)]
        for i, sock in enumerate(stuck):
            self.addCleanup(sock.close)
            if i % 2:
                sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00")  # the start of a ClientHello
        call = self.channel(lb.port).unary_unary("/test.Test/Call")
        for _ in range(20):
            self.assertEqual(call(b"x", timeout=LIMIT_S), b"x")
        for sock in stuck:
            sock.settimeout(60)
            self.assertEqual(sock.recv(100), b"", "closed after ten seconds")

    def test_alpn_without_h2_is_refused(self):
        lb = self.balancer([1])
        with self.assertRaisesRegex(ssl.SSLError, "(?i)no.application.protocol"):
            open_client(lb.port, self.ca, alpn=("http/1.1",))


if __name__ == "__main__":
    unittest.main(warnings="ignore")
