"""Clients that attack: each gets a clean end or a limit, memory stays bounded, a client beside them is well."""
import socket
import ssl
import struct
import time
import unittest

import h2wire
from h2wire import (CALM, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST, SETTINGS,
                    Target, WINDOW, frame_bytes, message, open_client, request_fields, settings_bytes)
from rig import SANITIZED, HealthyClient, Rig, wait_until
from failure_test import echo

RSS_GROWTH_KIB = 60 << 10


class HostileClients(Rig):
    def setUp(self):
        super().setUp()
        self.target = Target(echo)
        self.addCleanup(self.target.close)
        self.lb = self.balancer([self.target.port], "--idle-timeout", "3", "--workers", "1")
        self.rss = self.lb.rss_kib()

    def open(self, **keywords):
        wire = open_client(self.lb.port, self.ca, **keywords)
        self.addCleanup(wire.close)
        return wire

    def attack(self, act):
        """Runs act() beside a healthy client; then that one and the memory must be fine."""
        with HealthyClient(self, self.lb.port) as healthy:
            result = act()
        self.assertEqual(healthy.failures, [])
        self.assertGreater(healthy.calls, 0)
        self.assertLess(healthy.slowest, 2.0 if not SANITIZED else 10.0)
        if not SANITIZED:
            self.assertLess(self.lb.rss_kib() - self.rss, RSS_GROWTH_KIB)
        return result

    def end_of(self, wire, timeout=15):
        """The code of the GOAWAY that ends the connection; None when it ends without."""
        code = None
        while True:
            frame = wire.receive(timeout)
            if frame is None:
                return code
            if frame.type == GOAWAY:
                code = struct.unpack(">II", frame.payload[:8])[1]

    @staticmethod
    def pour(wire, data, times):
        """Sends as much as is taken: the other side may end the connection meanwhile."""
        try:
            for _ in range(times):
                wire.send_raw(data)
        except OSError:
            pass

    def test_garbage_instead_of_the_preface(self):
        def act():
            for garbage in (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\0" * 100, bytes(range(256)) * 64):
                wire = self.open(preface=False)
                wire.send_raw(garbage)
                self.assertEqual(self.end_of(wire), h2wire.PROTOCOL_ERROR)
        self.attack(act)

    def test_garbage_instead_of_tls(self):
        def act():
            for garbage in (b"\x16\x03\x01\xff\xff" + b"x" * 70000, b"hello\r\n", PREFACE + settings_bytes({})):
                with socket.create_connection(("127.0.0.1", self.lb.port), timeout=15) as sock:
                    try:
                        sock.sendall(garbage)
                        while sock.recv(4096):
                            pass
                    except ConnectionError:
                        pass
        self.attack(act)

    def test_a_client_without_h2_in_alpn_is_refused_in_the_handshake(self):
        with self.assertRaises(ssl.SSLError) as caught:
            self.open(alpn=("http/1.1",))
        self.assertIn("NO APPLICATION PROTOCOL", str(caught.exception).upper().replace("_", " "))

    def test_tls_alone_half_a_preface_and_a_slow_handshake_are_cut_after_ten_seconds(self):
        def act():
            tls_only = self.open(preface=False)
            half = self.open(preface=False)
            half.send_raw(PREFACE[:10])
            no_settings = self.open(preface=False)
            no_settings.send_raw(PREFACE)
            silent = h2wire.Wire(socket.create_connection(("127.0.0.1", self.lb.port)))
            self.addCleanup(silent.close)
            dribble = h2wire.Wire(socket.create_connection(("127.0.0.1", self.lb.port)))
            self.addCleanup(dribble.close)
            began = time.monotonic()
            for _ in range(5):
                dribble.send_raw(b"\x16")
                time.sleep(0.2)
            for wire in (tls_only, half, no_settings, silent, dribble):
                self.end_of(wire, timeout=15)
            self.assertGreater(time.monotonic() - began, 8)
            self.assertLess(time.monotonic() - began, 14)
        self.attack(act)

    def test_ten_thousand_resets(self):
        def act():
            wire = self.open()
            block = wire.encode(request_fields())
            requests = b"".join(frame_bytes(HEADERS, END_HEADERS, i, block if i == 1 else wire.encode(request_fields())) +
                                frame_bytes(RST, 0, i, struct.pack(">I", h2wire.CANCEL)) for i in range(1, 20001, 2))
            self.pour(wire, requests, 1)
            self.assertEqual(self.end_of(wire), CALM)
        self.attack(act)

    def test_ten_thousand_resets_made_by_the_balancer(self):
        """MadeYouReset: WINDOW_UPDATE of 0 makes the server reset."""
        def act():
            wire = self.open()
            requests = b"".join(frame_bytes(HEADERS, END_HEADERS, i, wire.encode(request_fields())) +
                                frame_bytes(WINDOW, 0, i, struct.pack(">I", 0)) for i in range(1, 20001, 2))
            self.pour(wire, requests, 1)
            self.assertEqual(self.end_of(wire), CALM)
        self.attack(act)

    def test_floods_of_ping_settings_and_priority(self):
        def act():
            for frame in (frame_bytes(PING, 0, 0, b"12345678"), settings_bytes({4: 65535}),
                          frame_bytes(h2wire.PRIORITY, 0, 1, struct.pack(">IB", 3, 1))):
                wire = self.open()
                self.pour(wire, frame * 1000, 20)
                self.assertEqual(self.end_of(wire), CALM)
        self.attack(act)

    def test_a_flood_of_pings_from_a_client_that_does_not_read(self):
        def act():
            wire = self.open()
            wire.sock.settimeout(2)
            self.pour(wire, frame_bytes(PING, 0, 0, b"12345678") * 10000, 100)
        self.attack(act)

    def test_continuation_flood(self):
        def act():
            wire = self.open()
            self.pour(wire, frame_bytes(HEADERS, END_STREAM, 1, b"") +
                      frame_bytes(CONTINUATION, 0, 1, b"\x00\x01a\x7f" + b"b" * 12000) * 50, 10)
            self.assertEqual(self.end_of(wire), CALM)
        self.attack(act)

    def test_hpack_bomb(self):
        def act():
            wire = self.open()
            big = ("x-bomb", "b" * 3900)
            wire.send_headers(1, request_fields() + [big], end=True)
            for i in range(3, 100, 2):
                wire.send(HEADERS, END_HEADERS | END_STREAM, i, wire.encode(request_fields()) + b"\xbe" * 15000)
            statuses = {}
            frames = wire.wait_for(lambda f: f.type == GOAWAY or len(statuses) >= 49 or (
                f.type == HEADERS and statuses.update({f.stream: dict(f.headers)})))
            self.assertIsNotNone(frames[-1])
            self.assertTrue(all(s.get("grpc-status") == "8" for k, s in statuses.items() if k > 1), statuses)
        self.attack(act)

    def test_empty_data_flood(self):
        def act():
            wire = self.open()
            wire.send_headers(1, request_fields())
            self.pour(wire, frame_bytes(DATA, 0, 1) * 1000, 20)
            self.assertEqual(self.end_of(wire), CALM)
        self.attack(act)

    def test_more_streams_than_allowed_are_refused(self):
        def act():
            wire = self.open()
            for i in range(1, 401, 2):
                wire.send_headers(i, request_fields())
            refused = set()
            wire.wait_for(lambda f: f.type == RST and (refused.add(f.stream) or len(refused) == 72))
            self.assertEqual(refused, set(range(257, 401, 2)))
        self.attack(act)

    def test_clients_that_never_open_their_window_lose_their_streams_to_the_idle_timeout(self):
        def big_answers(wire, target):
            def handle(stream, fields, body):
                wire.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
                for _ in range(12):
                    wire.send_data(stream, b"z" * 16384)
                wire.send_headers(stream, [("grpc-status", "0")], end=True)
            h2wire.each_request(wire, handle)
        target = Target(big_answers)
        self.addCleanup(target.close)
        lb = self.balancer([target.port], "--idle-timeout", "2", "--workers", "1")
        wire = open_client(lb.port, self.ca, settings={4: 0})
        self.addCleanup(wire.close)
        for i in range(1, 101, 2):
            wire.send_headers(i, request_fields(), end=True)
        ended = set()
        wire.wait_for(lambda f: f.type == RST and (ended.add(f.stream) or len(ended) == 50), timeout=15)
        self.assertEqual(len(ended), 50)
        wire.send_raw(frame_bytes(PING, 0, 0, b"12345678"))
        self.assertIsNotNone(wire.wait_for(lambda f: f.type == PING)[-1])

    def test_illegal_requests_end_the_stream_and_not_the_connection(self):
        bad = ([(":method", "POST"), (":path", "/x"), (":authority", "a")],
               request_fields() + [("connection", "close")], request_fields() + [("X-Upper", "1")],
               request_fields(path="no-slash"), request_fields() + [(":path", "/again")],
               request_fields() + [("x-crlf", "a\r\nb: c")], request_fields() + [("te", "gzip")])

        def act():
            wire = self.open()
            for n, fields in enumerate(bad):
                stream = 2 * n + 1
                wire.send_headers(stream, fields, end=True)
                frames = wire.wait_for(lambda f, s=stream: f.type in (RST, GOAWAY) and f.stream in (s, 0))
                self.assertEqual(frames[-1].type, RST, fields)
            wire.send_headers(101, request_fields())
            wire.send_data(101, message(b"still alive"), end=True)
            frames = wire.wait_for(lambda f: f.stream == 101 and f.flags & END_STREAM)
            self.assertEqual(dict(frames[-1].headers)["grpc-status"], "0")
        self.attack(act)

    def test_a_hundred_idle_and_a_thousand_short_connections(self):
        def act():
            idle = [self.open() for _ in range(100)]
            for _ in range(1000):
                socket.create_connection(("127.0.0.1", self.lb.port)).close()
            for wire in idle:
                wire.send_raw(frame_bytes(PING, 0, 0, b"12345678"))
                self.assertIsNotNone(wire.wait_for(lambda f: f.type == PING)[-1])
        self.attack(act)


if __name__ == "__main__":
    unittest.main()
