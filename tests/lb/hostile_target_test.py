"""Targets that break the protocol: only their own streams suffer, with a clear status."""
import struct
import threading
import time
import unittest

import grpc

import h2wire
from h2wire import (CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, RST, Target, each_request, frame_bytes,
                    message, ok_response, settings_bytes)
from rig import LIMIT_S, SANITIZED, HealthyClient, Rig
from failure_test import echo

UNAVAILABLE, INTERNAL = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL


class HostileTargets(Rig):
    def balance(self, script, **keywords):
        """A balancer with the hostile target alone."""
        target = Target(script, **keywords)
        self.addCleanup(target.close)
        return self.balancer([target.port], "--idle-timeout", "3", "--workers", "1")

    def code_of(self, lb, timeout=LIMIT_S):
        call = self.channel(lb.port).unary_unary("/test.Test/Call")
        try:
            call(b"x", timeout=timeout)
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()

    def on_request(self, act):
        return lambda wire, target: each_request(wire, lambda stream, fields, body: act(wire, stream))

    def test_garbage(self):
        lb = self.balance(self.on_request(lambda wire, s: wire.send_raw(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100)))
        for _ in range(3):
            self.assertEqual(self.code_of(lb), UNAVAILABLE)

    def test_an_http1_server(self):
        def script(wire, target):
            wire.sock.recv(100)
            wire.send_raw(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
        lb = self.balance(script, greet=False)
        self.assertEqual(self.code_of(lb), UNAVAILABLE)

    def test_headers_of_a_hundred_kilobytes(self):
        def act(wire, stream):
            wire.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
            block = wire.encode([("x-%d" % i, "v" * 4000) for i in range(25)] + [("grpc-status", "0")])
            wire.send(HEADERS, END_STREAM, stream, block[:16384])
            for at in range(16384, len(block), 16384):
                last = at + 16384 >= len(block)
                wire.send(CONTINUATION, END_HEADERS if last else 0, stream, block[at:at + 16384])
        lb = self.balance(self.on_request(act))
        self.assertIn(self.code_of(lb), (UNAVAILABLE, INTERNAL))

    def test_endless_continuation(self):
        def act(wire, stream):
            wire.send(HEADERS, 0, stream, wire.encode([(":status", "200")]))
            for _ in range(1000):
                wire.send(CONTINUATION, 0, stream, b"\x00\x01a\x01b" * 3000)
        lb = self.balance(self.on_request(act))
        self.assertEqual(self.code_of(lb), UNAVAILABLE)

    def test_trailers_before_the_request_ended_and_reset_no_error_is_success(self):
        def script(wire, target):
            while True:
                frame = wire.receive(30)
                if frame is None:
                    return
                wire.answer_control(frame)
                if frame.type == HEADERS:
                    ok_response(wire, frame.stream, b"early")
                    wire.reset(frame.stream, h2wire.NO_ERROR)
        lb = self.balance(script)
        go_on = threading.Event()
        self.addCleanup(go_on.set)

        def requests():
            yield b"one"
            go_on.wait(LIMIT_S)
        call = self.channel(lb.port).stream_unary("/test.Test/Collect")
        self.assertEqual(call(requests(), timeout=LIMIT_S), b"early")

    def test_reset_no_error_without_trailers_is_no_success(self):
        def act(wire, stream):
            wire.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
            wire.send_data(stream, message(b"half"))
            wire.reset(stream, h2wire.NO_ERROR)
        self.assertEqual(self.code_of(self.balance(self.on_request(act))), INTERNAL)

    def test_a_target_that_sends_nothing_is_ended_by_the_idle_timeout(self):
        lb = self.balance(lambda wire, target: time.sleep(30), greet=False)
        began = time.monotonic()
        self.assertEqual(self.code_of(lb), UNAVAILABLE)
        self.assertLess(time.monotonic() - began, 8)

    def test_wrong_frames_end_the_call_with_a_status(self):
        block = [(":status", "200"), ("content-type", "application/grpc")]
        acts = {
            "DATA before HEADERS": lambda w, s: w.send_data(s, message(b"x")),
            "two heads": lambda w, s: (w.send_headers(s, block), w.send_headers(s, block)),
            "no status": lambda w, s: w.send_headers(s, block[1:], end=True),
            "PUSH_PROMISE": lambda w, s: w.send(h2wire.PUSH, END_HEADERS, s, struct.pack(">I", 2) + w.encode(block)),
            "a frame too long": lambda w, s: w.send(h2wire.DATA, 0, s, b"x" * 20000),
            "window overrun": lambda w, s: (w.send_headers(s, block), [w.send_data(s, b"x" * 16384) for _ in range(2000)]),
            "HEADERS on an idle stream": lambda w, s: w.send_headers(s + 100, block),
            "bad HPACK": lambda w, s: w.send(HEADERS, END_HEADERS, s, b"\xff\xff\xff\xff\xff\xff"),
            "GOAWAY with an error, then the end": lambda w, s: (w.goaway(s, h2wire.INTERNAL_ERROR), w.close()),
            "101": lambda w, s: w.send_headers(s, [(":status", "101")], end=True),
        }
        for name, act in acts.items():
            with self.subTest(name):
                began = time.monotonic()
                self.assertIn(self.code_of(self.balance(self.on_request(act))), (UNAVAILABLE, INTERNAL))
                self.assertLess(time.monotonic() - began, 8)

    def test_informational_responses_are_left_out(self):
        def act(wire, stream):
            wire.send_headers(stream, [(":status", "103"), ("link", "x")])
            ok_response(wire, stream)
        self.assertEqual(self.code_of(self.balance(self.on_request(act))), grpc.StatusCode.OK)

    def test_a_hostile_target_harms_neither_the_others_nor_the_memory(self):
        def flood(wire, target):
            def handle(stream, fields, body):
                junk = frame_bytes(PING, 0, 0, b"12345678") * 2000 + settings_bytes({4: 100}) * 500
                for _ in range(20):
                    wire.send_raw(junk)
            each_request(wire, handle)
        bad, good = Target(flood), Target(echo)
        self.addCleanup(bad.close)
        self.addCleanup(good.close)
        bad_lb = self.balancer([bad.port, good.port], "--idle-timeout", "3", "--workers", "1")
        rss = bad_lb.rss_kib()
        call = self.channel(bad_lb.port).unary_unary("/test.Test/Call")
        outcomes = []
        for i in range(60):
            try:
                call(b"x", metadata=(("x-id", str(i)),), timeout=LIMIT_S)
                outcomes.append("ok")
            except grpc.RpcError as error:
                outcomes.append(error.code())
        self.assertEqual(outcomes.count("ok"), 30, outcomes)
        self.assertEqual(sum(good.executed.values()), 30)
        if not SANITIZED:
            self.assertLess(bad_lb.rss_kib() - rss, 30 << 10)


if __name__ == "__main__":
    unittest.main()
