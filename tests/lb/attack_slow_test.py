"""Slow and half-finished clients, TLS games, floods of connections (docs/defences.md)."""
import os
import resource
import signal
import socket
import ssl
import struct
import subprocess
import time
import unittest

import h2wire
from attack import ARN, HANG, SETTINGS_TIMEOUT, AttackCase, wait_closed
from h2wire import (CALM, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, frame_bytes,
                    message, request_fields, settings_bytes)
from rig import wait_until


class Slow(AttackCase):
    def plain(self):
        wire = h2wire.Wire(socket.create_connection(("127.0.0.1", self.port), timeout=30))
        self.addCleanup(wire.close)
        return wire

    def test_slow_handshakes_prefaces_and_header_blocks_are_cut_after_ten_seconds(self):
        self.launch()

        def act():
            silent, dribble = self.plain(), self.plain()
            tls_only, half, no_settings = (self.open(preface=False) for _ in range(3))
            half.send_raw(PREFACE[:10])
            no_settings.send_raw(PREFACE)
            half_frame = self.open()
            half_frame.send_raw(frame_bytes(HEADERS, END_HEADERS, 1, b"\x82\x84")[:10])
            half_block = self.open()  # also beside a stream that lives
            half_block.send_headers(1, request_fields(HANG))
            half_block.send_raw(frame_bytes(HEADERS, 0, 3, b"\x82"))
            upload = self.open()  # half a DATA frame of a stream that lives is no sin
            upload.send_headers(1, request_fields())
            body = message(b"y" * 995)
            upload.send_raw(frame_bytes(DATA, END_STREAM, 1, body)[:500])
            for i in range(12):
                time.sleep(1)
                if i < 5:
                    dribble.send_raw(b"\x16\x03\x01\x02\x00"[i:i + 1])
                if i < 6:
                    half_block.send_raw(frame_bytes(CONTINUATION, 0, 3, b""))
            for wire in (silent, dribble):
                wait_closed(wire)
            for wire in (tls_only, half, no_settings):
                self.assertEqual(self.end_of(wire), SETTINGS_TIMEOUT)
            for wire in (half_frame, half_block):
                self.assertEqual(self.end_of(wire), CALM)
            upload.send_raw(frame_bytes(DATA, END_STREAM, 1, body)[500:])
            frames = upload.wait_for(lambda f: f.stream == 1 and f.type == HEADERS and f.flags & END_STREAM)
            self.assertEqual(dict(frames[-1].headers)["grpc-status"], "0")
        self.attack(act, 100, {"client/slow_handshake": 2, "client/slow_preface": 3, "client/slow_header_block": 2})

    def test_garbage_instead_of_tls(self):
        self.launch()
        garbage = (b"\x16\x03\x01\xff\xff" + b"x" * 70000, b"hello\r\n", PREFACE + settings_bytes({}),
                   b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")

        def act():
            for data in garbage:
                wire = self.plain()
                self.pour(wire, data)
                wait_closed(wire)
        self.attack(act, 50, {"client/tls_error": len(garbage)})

    def test_garbage_instead_of_the_preface(self):
        self.launch()

        def act():
            for data in (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\0" * 100, bytes(range(256)) * 64):
                wire = self.open(preface=False)
                wire.send_raw(data)
                self.assertEqual(self.end_of(wire), h2wire.PROTOCOL_ERROR)
        self.attack(act, 20, {"client/bad_preface": 3})

    def test_a_client_without_h2_in_alpn_is_refused_in_the_handshake(self):
        self.launch()

        def act():
            with self.assertRaises(ssl.SSLError) as caught:
                self.open(alpn=("http/1.1",))
            self.assertIn("NO APPLICATION PROTOCOL", str(caught.exception).upper().replace("_", " "))
        self.attack(act, 10, {"client/tls_error": 1})

    def test_renegotiation_is_refused(self):
        self.launch()

        def act():
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-tls1_2", "-alpn", "h2"]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as p:
                try:
                    wait_line(p, b"Verify return code")
                    p.stdin.write(b"R\n")
                    p.stdin.flush()
                    out = p.communicate(timeout=30)[0]
                finally:
                    p.kill()
            self.assertIn(b"RENEGOTIATING", out)
            self.assertRegex(out, b"no renegotiation|:error:|alert")
        self.attack(act, 100, {})

    def test_a_thousand_connections_that_come_and_go_and_a_hundred_that_stay(self):
        self.launch()
        descriptors = self.lb.descriptors()

        def act():
            idle = [self.open() for _ in range(100)]
            for _ in range(1000):
                socket.create_connection(("127.0.0.1", self.port)).close()
            for wire in idle:
                wire.send_raw(frame_bytes(PING, 0, 0, b"12345678"))
                self.assertIsNotNone(wire.wait_for(lambda f: f.type == PING)[-1])
                wire.close()
        self.attack(act, 1000 + 100 * 40, {"client/closed_by_peer": 1000})
        wait_until(lambda: self.lb.descriptors() <= descriptors + 4, "all descriptors are given back", 30)

    def test_handshakes_that_come_all_at_once_share_the_turns(self):
        self.launch()

        def act():
            hello = client_hello()
            self.lb.process.send_signal(signal.SIGSTOP)  # so that they all wait when it looks
            try:
                wires = [self.plain() for _ in range(300)]
                for wire in wires:
                    wire.send_raw(hello)
            finally:
                self.lb.process.send_signal(signal.SIGCONT)
            for wire in wires:
                self.assertTrue(wire.sock.recv(100))
                wire.close()
        self.attack(act, 300 * 40, {"client/handshake_postponed": 1})

    def test_more_clients_than_descriptors_allow_are_refused_and_those_inside_are_served(self):
        self.launch(descriptors=160)  # 64 of them are not for clients

        def act():
            crowd = []
            for _ in range(300):
                crowd.append(self.plain())
            self.link.wait(lambda: self.link.defences.get("client/connection_over_limit", 0) >= 200, 30, "refusals")
            self.still_serves(self.inside, 1)
            for wire in crowd:
                wire.close()
        self.inside = self.open()
        self.attack(act, 300 * 10, {"client/connection_over_limit": 200})
        wait_until(self.can_open, "room for clients again", 30)

    def test_without_descriptors_the_balancer_rests_and_goes_on_when_there_are_some_again(self):
        self.launch()
        pid, waiting = self.lb.process.pid, []

        def act():
            usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            used = len(os.listdir(f"/proc/{pid}/fd"))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, usual[1]))
            waiting.append(self.plain())
            time.sleep(2)
            self.still_serves(self.inside, 3)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)
            waiting[0].send_raw(client_hello())
            self.assertTrue(waiting[0].sock.recv(100))
        self.inside = self.open()
        self.still_serves(self.inside, 1)
        before = self.counters()
        self.attack(act, 100, {"client/accept_failed": 10})
        self.assertLess(self.counters()["client/accept_failed"] - before["client/accept_failed"], 40)
        self.assertEqual(self.lb.said().count("accept failed"), 1)

    def can_open(self):
        try:
            wire = self.open()
            self.still_serves(wire, 1)
            return True
        except (OSError, AssertionError, TypeError):
            return False

    def test_clients_that_no_rule_lets_in_are_closed_at_accept(self):
        self.launch(tls=False)
        before = self.counters()
        self.link.apply(2, self.snapshot_with_ingress(["10.0.0.0/8"]))
        wait_closed(self.plain())
        self.wait_counters(before, {"client/connection_not_allowed": 1})

    def snapshot_with_ingress(self, ingress):
        import link as L
        return L.snapshot(2, [L.listener(ARN)], [L.group([L.target(self.target.port, last="healthy")], in_use=False)],
                          ingress=ingress)

    def test_a_client_that_leaves_at_any_byte_leaves_nothing_behind(self):
        self.launch(tls=False)
        wire = h2wire.Wire(None)
        whole = (PREFACE + settings_bytes({4: 65535}) + self.head(wire, 1, "/test.Test/Call") +
                 frame_bytes(DATA, 0, 1, message(b"hello")) + self.head(wire, 3, HANG, end=True) +
                 frame_bytes(PING, 0, 0, b"12345678"))

        def act():
            for size in range(len(whole)):
                sock = socket.create_connection(("127.0.0.1", self.port))
                sock.sendall(whole[:size])
                if size % 2:  # RST instead of FIN
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
        self.attack(act, 5 * len(whole), {})
        self.wait_streams(0)


def wait_line(process, word):
    while True:
        line = process.stdout.readline()
        if not line:
            raise AssertionError("the program ended")
        if word in line:
            return


def client_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    session = context.wrap_bio(incoming, outgoing, server_hostname="weir.test")
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


if __name__ == "__main__":
    unittest.main()
