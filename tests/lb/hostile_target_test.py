"""Targets that break the protocol: only their own streams suffer, with a clear status."""
import socket
import struct
import threading
import time
import unittest

import grpc

import h2wire
from attack import RESPONSE_HEAD, AttackCase
from h2wire import (CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, RST, Target, each_request, frame_bytes,
                    message, ok_response, request_fields, settings_bytes)
from rig import LIMIT_S, SANITIZED, Rig
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
        self.assertEqual(self.code_of(lb), INTERNAL)

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


CHAT = "/test.Test/Chat"


def status_head(*fields):
    return [(":status", "200"), ("content-type", "application/grpc"), *fields]


def u32(value):
    return struct.pack(">I", value)


def block_frames(wire, stream, fields):
    block = wire.encode(fields)
    wire.send(HEADERS, 0, stream, block[:16384])
    for at in range(16384, len(block), 16384):
        wire.send(CONTINUATION, END_HEADERS if at + 16384 >= len(block) else 0, stream, block[at:at + 16384])


def answered(*acts):
    """The acts, then a good answer."""
    def act(wire, stream):
        for each in acts:
            each(wire, stream)
        ok_response(wire, stream, b"bad")
    return act


# What a target does instead of answering, and the counter of its side that tells of it.
MISDEEDS = {
    "a head too large": (lambda w, s: block_frames(w, s, status_head(*(("x-%d" % i, "v" * 3000) for i in range(21)),
                                                                     *(("y-%d" % i, "") for i in range(90)))),
                         "header_list_too_large"),
    "CONTINUATION without end": (lambda w, s: (w.send(HEADERS, 0, s, w.encode(RESPONSE_HEAD)),
                                               w.send_raw(frame_bytes(CONTINUATION, 0, s, b"\x00\x01a\x01b" * 3000) * 20)),
                                 "continuation_flood"),
    "PING": (lambda w, s: w.send_raw(frame_bytes(PING, 0, 0, b"12345678") * 4000), "ping_flood"),
    "SETTINGS": (lambda w, s: w.send_raw(settings_bytes({4: 100}) * 400), "settings_flood"),
    "GOAWAY": (lambda w, s: w.send_raw(frame_bytes(h2wire.GOAWAY, 0, 0, u32(0x7fffffff) + u32(0)) * 400), "goaway_flood"),
    "informational responses": (lambda w, s: w.send_raw(frame_bytes(HEADERS, END_HEADERS, s,
                                                                    w.encode([(":status", "103")])) * 4000),
                                "informational_flood"),
    "empty DATA": (lambda w, s: (w.send_headers(s, RESPONSE_HEAD), w.send_raw(frame_bytes(h2wire.DATA, 0, s) * 3000)),
                   "empty_data_flood"),
    "unknown frames": (lambda w, s: w.send_raw(frame_bytes(0xbe, 0, 0) * 20000), "unknown_frame_flood"),
    "PUSH_PROMISE": (lambda w, s: w.send(h2wire.PUSH, END_HEADERS, s, u32(2) + w.encode(RESPONSE_HEAD)), "protocol_error"),
    "DATA before HEADERS": (lambda w, s: w.send_data(s, message(b"x")), "stream_error"),
    "two heads": (lambda w, s: (w.send_headers(s, RESPONSE_HEAD), w.send_headers(s, RESPONSE_HEAD)), "stream_error"),
    "trailers without the end": (lambda w, s: (w.send_headers(s, RESPONSE_HEAD), w.send_data(s, message(b"x")),
                                               w.send_headers(s, [("grpc-status", "0")])), "malformed_head"),
    "no status": (lambda w, s: w.send_headers(s, RESPONSE_HEAD[1:], end=True), "malformed_head"),
    "101": (lambda w, s: w.send_headers(s, [(":status", "101")]), "stream_error"),
    "CR LF in a field": (lambda w, s: w.send_headers(s, status_head(("x-a", "1\r\nx: y"))), "malformed_head"),
    "upper case": (lambda w, s: w.send_headers(s, status_head(("X-Upper", "1"))), "malformed_head"),
    "connection": (lambda w, s: w.send_headers(s, status_head(("connection", "close"))), "malformed_head"),
    "pseudo in trailers": (lambda w, s: (w.send_headers(s, RESPONSE_HEAD),
                                         w.send_headers(s, [(":status", "200"), ("grpc-status", "0")], end=True)),
                           "malformed_head"),
    "window over its limit": (lambda w, s: w.credit(0, 0x7fffffff), "flow_control_error"),
    "WINDOW_UPDATE of 0": (lambda w, s: w.credit(s, 0), "stream_error"),
    "more than the window": (lambda w, s: (w.send_headers(s, RESPONSE_HEAD),
                                           w.send_raw(frame_bytes(h2wire.DATA, 0, s, b"x" * 16384) * 2000)), None),
    "a frame too long": (lambda w, s: w.send(h2wire.DATA, 0, s, b"x" * 20000), "frame_size_error"),
    "garbage HPACK": (lambda w, s: w.send(HEADERS, END_HEADERS, s, b"\xff" * 6), "compression_error"),
    "HEADERS on an idle stream": (lambda w, s: w.send_headers(s + 100, RESPONSE_HEAD), "protocol_error"),
    "reset NO_ERROR in the middle": (lambda w, s: (w.send_headers(s, RESPONSE_HEAD), w.reset(s, h2wire.NO_ERROR)),
                                     "reset_received"),
    "GOAWAY with an error": (lambda w, s: (w.goaway(s, h2wire.INTERNAL_ERROR), w.close()), "closed_by_peer"),
    "refusal": (lambda w, s: w.reset(s, h2wire.REFUSED), "reset_received"),
    "DATA after the end": (lambda w, s: (ok_response(w, s, b"bad"), w.send_data(s, b"late" * 100),
                                         w.send_headers(s, [("grpc-status", "0")], end=True)), "late_frame"),
    "settings in the middle": (answered(lambda w, s: w.send_raw(b"".join(settings_bytes({4: size, 1: size, 5: 16384 + size})
                                                                         for size in (0, 1, 100, 65535)))), None),
    "no streams allowed": (answered(lambda w, s: w.send_raw(settings_bytes({3: 0}))), None),
    "windows of one byte": (answered(lambda w, s: w.send_raw(settings_bytes({4: 1}))), None),
}


def answering(word, misdeeds):
    """A server that chats on CHAT, does what the path /evil/NAME says if it is bad, and answers with `word`."""
    def script(wire, target):
        chats = set()
        while True:
            frame = wire.receive(120)
            if frame is None:
                return
            wire.answer_control(frame)
            if frame.type == HEADERS:
                path = dict(frame.headers)[":path"]
                if path == CHAT:
                    chats.add(frame.stream)
                    wire.send_headers(frame.stream, RESPONSE_HEAD + [("x-by", word)])
                elif path in misdeeds:
                    target.count(path)
                    misdeeds[path](wire, frame.stream)
                else:
                    ok_response(wire, frame.stream, word.encode())
            elif frame.type == h2wire.DATA and frame.payload:
                wire.credit(0, len(frame.payload))
                if frame.stream in chats:
                    wire.send_data(frame.stream, frame.payload)
    return script


class TwoTargets(AttackCase):
    """A bad target and a good one; a client with a chat on each, who calls both in turn on one connection."""

    def setUp(self):
        super().setUp()
        by_path = {f"/evil/{n}": act for n, (act, _) in enumerate(MISDEEDS.values())}
        self.bad = Target(answering("bad", by_path))
        self.good = Target(answering("good", {}))
        self.addCleanup(self.bad.close)
        self.addCleanup(self.good.close)
        self.launch(self.bad.port, self.good.port)
        self.wire = self.open(settings={4: 1 << 20})
        self.wire.credit(0, 1 << 28)
        self.stream = 1
        self.chat = self.good_chat()

    def next_stream(self):
        self.stream += 2
        return self.stream

    def good_chat(self):
        for _ in range(2):
            stream = self.next_stream()
            self.wire.send_headers(stream, request_fields(CHAT))
            frames = self.wire.wait_for(lambda f, s=stream: f.type == HEADERS and f.stream == s, 30)
            if dict(frames[-1].headers)["x-by"] == "good":
                return stream
        raise AssertionError("no chat reached the good target")

    def check_chat(self):
        self.wire.send_data(self.chat, message(b"still here?"))
        frames = self.wire.wait_for(lambda f: f.stream == self.chat and f.type != h2wire.WINDOW, 30)
        self.assertIsNotNone(frames[-1], "the client's connection ended")
        self.assertEqual((frames[-1].type, frames[-1].payload), (h2wire.DATA, message(b"still here?")))

    def call(self, path):
        """Returns (grpc-status or None when reset, what was answered)."""
        stream, body = self.next_stream(), b""
        self.wire.send_headers(stream, request_fields(path), end=True)
        while True:
            frame = self.wire.receive(LIMIT_S)
            self.assertIsNotNone(frame, "the client's connection ended")
            self.wire.answer_control(frame)
            if frame.stream != stream:
                continue
            if frame.type == RST:
                return None, body
            if frame.type == h2wire.DATA:
                body += frame.payload
                self.wire.credit(stream, max(1, len(frame.payload)))
            if frame.flags & END_STREAM:
                return dict(frame.headers or [("grpc-status", None)])["grpc-status"], body

    def test_whatever_a_target_does_harms_its_own_streams_alone(self):
        before = self.counters()
        rss, cpu = self.lb.rss_kib(), self.lb.cpu_s()
        least = {}
        for n, (name, (_, counter)) in enumerate(MISDEEDS.items()):
            with self.subTest(name):
                path = f"/evil/{n}"
                results = [self.call(path) for _ in range(6)]
                by_good = [status for status, body in results if body[5:] == b"good"]
                self.assertGreaterEqual(len(by_good), 2, results)
                self.assertEqual(set(by_good), {"0"})
                for status, body in results:
                    self.assertTrue(status in ("13", "14", None) or body[5:] in (b"good", b"bad"), results)
                self.assertGreater(self.bad.executed[path], 0, "the bad target had its turn")
                self.check_chat()
            if counter is not None:
                least[f"target/{counter}"] = least.get(f"target/{counter}", 0) + 1
        self.wait_counters(before, least)
        if not SANITIZED:
            self.assertLess(self.lb.rss_kib() - rss, 48 << 10)
        self.assertLess(self.lb.cpu_s() - cpu, 30)

    def test_a_target_that_says_goaway_at_once_on_every_connection_takes_no_call_away(self):
        def script(wire, target):
            target.count("storm")
            wire.goaway(0)
            while (frame := wire.receive(30)) is not None:
                wire.answer_control(frame)
        storm, good = Target(script), Target(answering("good", {}))
        self.addCleanup(storm.close)
        self.addCleanup(good.close)
        self.launch(storm.port, good.port)
        self.wire = self.open()
        self.stream = 1
        results = [self.call("/x.Y/Z") for _ in range(30)]
        self.assertEqual([r for r in results if r != ("0", message(b"good"))], [])
        self.assertGreater(storm.executed["storm"], 0)

    def test_a_target_that_never_acknowledges_settings_is_served_within_the_first_windows(self):
        def script(wire, target):
            while (frame := wire.receive(30)) is not None:
                if frame.type == HEADERS:
                    wire.send_headers(frame.stream, RESPONSE_HEAD)
                    for _ in range(3):
                        wire.send_data(frame.stream, b"y" * 16384)
                    wire.send_headers(frame.stream, [("grpc-status", "0")], end=True)
        target = Target(script)
        self.addCleanup(target.close)
        self.launch(target.port)
        self.wire = self.open()
        self.wire.credit(0, 1 << 28)
        self.stream = 1
        for _ in range(20):
            status, body = self.call("/x.Y/Z")
            self.assertEqual((status, len(body)), ("0", 3 * 16384))

    def test_a_response_cut_at_any_byte_is_never_a_success(self):
        encoder = h2wire.Wire(None)
        whole = (settings_bytes({4: 65535}) + frame_bytes(HEADERS, END_HEADERS, 1, encoder.encode(RESPONSE_HEAD)) +
                 frame_bytes(h2wire.DATA, 0, 1, message(b"whole")) +
                 frame_bytes(HEADERS, END_HEADERS | END_STREAM, 1, encoder.encode([("grpc-status", "0")])))
        size = [0]

        def script(wire, target):
            if wire.read_exactly(len(h2wire.PREFACE)) is None:
                return
            while (frame := wire.receive(30)) is not None and frame.type != HEADERS:
                pass
            wire.send_raw(whole[:size[0]])
            if size[0] % 2:  # RST instead of FIN
                wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        target = Target(script, greet=False)
        self.addCleanup(target.close)
        self.launch(target.port)
        self.wire = self.open()
        self.stream = 1
        for size[0] in range(len(whole)):
            status, _ = self.call("/x.Y/Z")
            self.assertIn(status, ("13", "14", None), size[0])
        size[0] = len(whole)
        self.assertIn(self.call("/x.Y/Z")[0], ("0", "14"))


class Deaf(AttackCase):
    """A target that grants the largest windows and then reads nothing, beside a good one."""

    def test_what_it_does_not_take_is_bounded_by_its_clients_windows_and_freed_after_half_a_minute(self):
        def deaf(wire, target):
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.read_exactly(len(h2wire.PREFACE))
            wire.send_raw(settings_bytes({4: 0x7fffffff}))
            wire.credit(0, 0x7fff0000)
            over.wait(200)
        over = threading.Event()
        self.addCleanup(over.set)
        bad, good = Target(deaf, greet=False), Target(answering("good", {}))
        self.addCleanup(bad.close)
        self.addCleanup(good.close)
        self.launch(bad.port, good.port, idle_ms=600000)
        before = self.counters()
        rss, cpu = self.lb.rss_kib(), self.lb.cpu_s()
        wire = self.open(settings={4: 1 << 20})
        wire.credit(0, 1 << 28)
        streams = range(1, 241, 2)
        for stream in streams:
            wire.send_headers(stream, request_fields(CHAT))
        by_good = set()
        wire.wait_for(lambda f: f.type == HEADERS and (by_good.add(f.stream) or len(by_good) == len(streams) // 2))
        unheard = set(streams) - by_good
        for stream in unheard:  # each up to its window
            for _ in range(16):
                wire.send_data(stream, b"u" * 16384)
        chat, began, most = min(by_good), time.monotonic(), 0
        while unheard:
            self.assertLess(time.monotonic() - began, 45, f"{len(unheard)} streams have not ended")
            wire.send_data(chat, message(b"still here?"))
            for frame in wire.wait_for(lambda f: f.stream == chat and f.type == h2wire.DATA):
                if frame.stream in unheard and frame.flags & END_STREAM:
                    self.assertEqual(dict(frame.headers)["grpc-status"], "14")
                    unheard.remove(frame.stream)
            self.link.settle(1)
            most = max(most, self.link.metrics["weir_buffered_bytes"])
        self.assertGreater(time.monotonic() - began, 28)
        self.assertGreater(most, 1 << 20)  # the kernel has not taken it all
        self.assertLess(most, len(streams) // 2 * (256 << 10) + (2 << 20))
        self.assertLess(self.lb.cpu_s() - cpu, 3)
        if not SANITIZED:
            self.assertLess(self.lb.rss_kib() - rss, 48 << 10)
        self.wait_counters(before, {"target/slow_reader": 1})
        self.link.wait(lambda: self.link.metrics["weir_buffered_bytes"] < 1 << 20, 10, "the bytes are freed")


if __name__ == "__main__":
    unittest.main()
