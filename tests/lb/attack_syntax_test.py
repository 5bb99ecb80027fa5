"""Bytes that mean something else to another parser, values at their ends, and gRPC's own fields (docs/defences.md)."""
import struct
import unittest

import grpc

import h2wire
from attack import BIG, COMPRESSION, FRAME_SIZE, HANG, RESPONSE_HEAD, AttackCase
from h2wire import (CALM, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL, GOAWAY, HEADERS, PROTOCOL_ERROR, RST, WINDOW, Target,
                    each_request, frame_bytes, message, ok_response, request_fields, settings_bytes)
from rig import LIMIT_S

PSEUDO = [(":method", "POST"), (":scheme", "https"), (":path", "/a.B/C"), (":authority", "weir.test")]


def replaced(name, value):
    return [(n, value if n == name else v) for n, v in PSEUDO]


SMUGGLED = {
    "CR LF in a value": PSEUDO + [("x-a", "1\r\nx-b: 2")],
    "LF in a value": PSEUDO + [("x-a", "1\nx-b: 2")],
    "NUL in a value": PSEUDO + [("x-a", "1\0")],
    "CR LF in a name": PSEUDO + [("x-a\r\nx-b", "1")],
    "colon in a name": PSEUDO + [("x:a", "1")],
    "blank in a name": PSEUDO + [("x a", "1")],
    "blank before a value": PSEUDO + [("x-a", " 1")],
    "tab behind a value": PSEUDO + [("x-a", "1\t")],
    "upper case": PSEUDO + [("X-Upper", "1")],
    "no name": PSEUDO + [("", "1")],
    "pseudo behind regular": PSEUDO[:3] + [("x-a", "1")] + PSEUDO[3:],
    "two paths": PSEUDO + [(":path", "/again")],
    "no method": PSEUDO[1:],
    "no scheme": [f for f in PSEUDO if f[0] != ":scheme"],
    "no path": [f for f in PSEUDO if f[0] != ":path"],
    "unknown pseudo": PSEUDO + [(":evil", "1")],
    "a response's pseudo": PSEUDO + [(":status", "200")],
    "path without slash": replaced(":path", "a.B/C"),
    "empty path": replaced(":path", ""),
    "absolute path": replaced(":path", "https://weir.test/a.B/C"),
    "blank in the path": replaced(":path", "/a.B/C HTTP/1.1"),
    "CR LF in the path": replaced(":path", "/a.B/C HTTP/1.1\r\nhost: evil"),
    "fragment in the path": replaced(":path", "/a.B/C#x"),
    "CR LF in the method": replaced(":method", "POST / HTTP/1.1\r\nx: y"),
    "blank in the method": replaced(":method", "POST /x"),
    "slash in the scheme": replaced(":scheme", "https://evil/"),
    "userinfo in the authority": replaced(":authority", "user@weir.test"),
    "blank in the authority": replaced(":authority", "weir.test evil"),
    "CONNECT": replaced(":method", "CONNECT")[0:1] + [(":authority", "weir.test:1")],
    "connection": PSEUDO + [("connection", "close")],
    "keep-alive": PSEUDO + [("keep-alive", "1")],
    "proxy-connection": PSEUDO + [("proxy-connection", "close")],
    "transfer-encoding": PSEUDO + [("transfer-encoding", "chunked")],
    "upgrade": PSEUDO + [("upgrade", "h2c")],
    "te of another kind": PSEUDO + [("te", "gzip")],
    "content-length of no number": PSEUDO + [("content-length", "1x")],
    "content-length with a sign": PSEUDO + [("content-length", "+1")],
    "two content-lengths": PSEUDO + [("content-length", "1"), ("content-length", "2")],
    "content-length beyond 64 bits": PSEUDO + [("content-length", "99999999999999999999")],
}


class Syntax(AttackCase):
    def test_heads_that_another_parser_reads_differently_reach_no_target(self):
        self.launch()

        def act():
            wire = self.open()
            for n, (name, fields) in enumerate(SMUGGLED.items()):
                with self.subTest(name):
                    stream = 2 * n + 1
                    wire.send_headers(stream, fields, end=True)
                    frames = wire.wait_for(lambda f, s=stream: f.stream == s or f.type == GOAWAY)
                    self.assertEqual((frames[-1].type, frames[-1].payload), (RST, struct.pack(">I", PROTOCOL_ERROR)))
            self.still_serves(wire, 1001)
        self.attack(act, len(SMUGGLED), {"client/malformed_head": len(SMUGGLED), "client/stream_error": len(SMUGGLED)})
        self.assertEqual(set(self.target.executed), {"/test.Test/Call"})

    def test_frames_that_end_the_connection(self):
        self.launch()
        u32 = lambda value: struct.pack(">I", value)
        ends = {
            "window over its limit": (frame_bytes(WINDOW, 0, 0, u32(0x7fffffff)), FLOW_CONTROL),
            "WINDOW_UPDATE of 0": (frame_bytes(WINDOW, 0, 0, u32(0)), PROTOCOL_ERROR),
            "WINDOW_UPDATE of 5 bytes": (frame_bytes(WINDOW, 0, 0, b"12345"), FRAME_SIZE),
            "initial window over its limit": (settings_bytes({4: 0x80000000}), FLOW_CONTROL),
            "frame size below its limit": (settings_bytes({5: 16383}), PROTOCOL_ERROR),
            "frame size above its limit": (settings_bytes({5: 1 << 24}), PROTOCOL_ERROR),
            "ENABLE_PUSH of 2": (settings_bytes({2: 2}), PROTOCOL_ERROR),
            "SETTINGS of 5 bytes": (frame_bytes(h2wire.SETTINGS, 0, 0, b"12345"), FRAME_SIZE),
            "SETTINGS on a stream": (frame_bytes(h2wire.SETTINGS, 0, 1), PROTOCOL_ERROR),
            "PING of 7 bytes": (frame_bytes(h2wire.PING, 0, 0, b"1234567"), FRAME_SIZE),
            "a frame of 16385 bytes": (frame_bytes(0xbe, 0, 0, b"x" * 16385), FRAME_SIZE),
            "a frame of 16 MB": (b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", FRAME_SIZE),
            "DATA on an idle stream": (frame_bytes(DATA, 0, 5, b"x"), PROTOCOL_ERROR),
            "RST_STREAM on an idle stream": (frame_bytes(RST, 0, 5, u32(8)), PROTOCOL_ERROR),
            "an even stream id": (frame_bytes(HEADERS, END_HEADERS, 2, b"\x82"), PROTOCOL_ERROR),
            "PUSH_PROMISE": (frame_bytes(h2wire.PUSH, END_HEADERS, 1, u32(2) + b"\x82"), PROTOCOL_ERROR),
            "CONTINUATION of nothing": (frame_bytes(h2wire.CONTINUATION, END_HEADERS, 1, b"\x82"), PROTOCOL_ERROR),
            "padding longer than the frame": (frame_bytes(DATA, h2wire.PADDED, 1, b"\x09x"), PROTOCOL_ERROR),
            "HPACK index 0": (frame_bytes(HEADERS, END_HEADERS, 1, b"\x80"), COMPRESSION),
            "HPACK index beyond the table": (frame_bytes(HEADERS, END_HEADERS, 1, b"\xff\x80\x80\x80\x80\x10"), COMPRESSION),
            "HPACK integer that overflows": (frame_bytes(HEADERS, END_HEADERS, 1, b"\x7f" + b"\xff" * 12), COMPRESSION),
            "HPACK string longer than the block": (frame_bytes(HEADERS, END_HEADERS, 1, b"\x00\x7f\x10abc"), COMPRESSION),
            "HPACK table larger than allowed": (frame_bytes(HEADERS, END_HEADERS, 1, b"\x3f\xe1\xff\x03\x82"), COMPRESSION),
        }

        def act():
            for name, (frame, code) in ends.items():
                with self.subTest(name):
                    wire = self.open()
                    self.pour(wire, frame)
                    self.assertEqual(self.end_of(wire), code)
        self.attack(act, 40 * len(ends), {"client/flow_control_error": 2, "client/frame_size_error": 4,
                                          "client/protocol_error": 8, "client/compression_error": 5})

    def test_a_header_table_of_four_gigabytes_and_the_largest_frames_are_not_used(self):
        self.launch()

        def act():
            wire = self.open(settings={1: 0xffffffff, 5: 0xffffff, 6: 0xffffffff, 4: 0x7fffffff})
            wire.decoder.max_allowed_table_size = 4096
            wire.send_headers(1, request_fields(BIG + "60000"), end=True)
            frames = wire.wait_for(lambda f: f.stream == 1 and f.flags & END_STREAM)
            self.assertEqual(sum(len(f.payload) for f in frames if f.type == DATA), 60000)
            self.assertLessEqual(max(len(f.payload) for f in frames), 16384)
            self.still_serves(wire, 3)
        self.attack(act, 50, {})

    def test_a_window_that_shrinks_below_zero_and_comes_back(self):
        self.launch()

        def act():
            wire = self.open(settings={4: 30000})
            wire.send_headers(1, request_fields(BIG + "60000"), end=True)
            got, frame = 0, None
            while got < 30000:
                frame = wire.receive(30)
                got += len(frame.payload) if frame.type == DATA else 0
            for value in (0, 1, 20000, 10):
                wire.send_raw(settings_bytes({4: value}))
            wire.credit(1, 29990)
            self.assertFalse(any(f.type == DATA for f in self.until_pong(wire)))
            wire.credit(1, 60000)
            frames = wire.wait_for(lambda f: f.stream == 1 and f.flags & END_STREAM)
            self.assertEqual(got + sum(len(f.payload) for f in frames if f.type == DATA), 60000)
        self.attack(act, 50, {})

    @staticmethod
    def until_pong(wire):
        wire.send_raw(frame_bytes(h2wire.PING, 0, 0, b"12345678"))
        return wire.wait_for(lambda f: f.type == h2wire.PING)

    def test_a_timeout_of_eight_digits_is_long_and_others_are_none(self):
        self.launch()

        def act():
            channel = self.open()
            for n, value in enumerate(("99999999H", "99999999M", "00000030S", "123456789S", "-1S", "1", "", "1e9S", "9" * 500)):
                stream = 2 * n + 1
                channel.send_headers(stream, request_fields() + [("grpc-timeout", value)])
                channel.send_data(stream, message(b"x"), end=True)
                frames = channel.wait_for(lambda f, s=stream: f.stream == s and f.flags & END_STREAM)
                self.assertEqual(dict(frames[-1].headers)["grpc-status"], "0", value)
        self.attack(act, 50, {})

    def test_more_metadata_than_allowed_is_refused_with_a_status_and_calls_go_on(self):
        self.launch()

        def act():
            call = self.channel(self.port).unary_unary("/test.Test/Call")
            with self.assertRaises(grpc.RpcError) as caught:
                call(b"x", metadata=[("x-%d" % i, "v") for i in range(101)], timeout=LIMIT_S)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
            channel = self.channel(self.port)  # far too much: that call alone, other streams of the connection go on
            other = channel.unary_unary(HANG).future(b"x", timeout=LIMIT_S)
            with self.assertRaises(grpc.RpcError) as caught:
                channel.unary_unary("/test.Test/Call")(
                    b"x", metadata=[("x-%d" % i, "v" * 8000) for i in range(25)], timeout=LIMIT_S)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
            self.assertEqual(channel.unary_unary("/test.Test/Call")(b"y", timeout=LIMIT_S), b"y")
            self.assertFalse(other.done())
            other.cancel()
            with self.assertRaises(grpc.RpcError) as caught:  # more than a block may have: the connection ends
                call(b"x", metadata=[("x-%d" % i, "v" * 8000) for i in range(40)], timeout=LIMIT_S)
            self.assertIn(caught.exception.code(), (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE))
            self.assertEqual(call(b"x", metadata=[("x-bin", b"\0\r\n\xff")], timeout=LIMIT_S, wait_for_ready=True), b"x")
        self.attack(act, 400, {"client/header_list_too_large": 2, "client/continuation_flood": 1})

    def test_a_message_length_of_four_gigabytes_is_not_waited_for_here(self):
        self.launch()

        def act():
            wire = self.open()
            for stream in range(1, 101, 2):
                wire.send_headers(stream, request_fields())
                wire.send_data(stream, b"\1\xff\xff\xff\xff" + b"z" * 1000, end=True)
            done = set()
            wire.wait_for(lambda f: f.type == HEADERS and f.flags & END_STREAM and (done.add(f.stream) or len(done) == 50), 30)
            self.assertEqual(len(done), 50)
        self.attack(act, 200, {})

    def test_a_targets_status_message_cannot_carry_other_fields(self):
        def script(wire, target):
            def handle(stream, fields, body):
                if body[5:] == b"evil":
                    wire.send_headers(stream, RESPONSE_HEAD)
                    wire.send_headers(stream, [("grpc-status", "3"), ("grpc-message", "a\r\ngrpc-status: 0")], end=True)
                else:
                    ok_response(wire, stream, body[5:])
            each_request(wire, handle)
        target = Target(script)
        self.addCleanup(target.close)
        self.launch(target.port)

        def act():
            call = self.channel(self.port).unary_unary("/test.Test/Call")
            with self.assertRaises(grpc.RpcError) as caught:
                call(b"evil", timeout=LIMIT_S)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.INTERNAL)
            self.assertNotIn("\n", caught.exception.details())
        self.attack(act, 20, {"target/malformed_head": 1})

    def test_streams_that_hang_are_no_burden_to_the_next(self):
        self.launch(idle_ms=2000)

        def act():
            wire = self.open()
            self.pour(wire, b"".join(self.head(wire, i, HANG) for i in range(1, 257, 2)))
            ended = set()
            wire.wait_for(lambda f: f.type == HEADERS and (ended.add(f.stream) or len(ended) == 128), 30)
            self.still_serves(wire, 1001)
        self.attack(act, 400, {})
        self.wait_streams(0)


if __name__ == "__main__":
    unittest.main()
