"""Floods of frames: each ends with ENHANCE_YOUR_CALM within a bound (docs/defences.md)."""
import struct
import unittest

import h2wire
from attack import HANG, AttackCase
from h2wire import (CALM, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL, GOAWAY, HEADERS, PING, PRIORITY, RST,
                    WINDOW, frame_bytes, message, request_fields, settings_bytes)

TRAILERS = [("x-trailer", "1")]


class Floods(AttackCase):
    def setUp(self):
        super().setUp()
        self.launch()

    def flood(self, frames, times, reason, **counters):
        """The same bytes again and again on a connection with one open stream; `frames` is what they hold."""
        def act():
            wire = self.open()
            wire.send_headers(1, request_fields(HANG))
            self.pour(wire, frames * 1000, times // 1000)
            self.assertEqual(self.end_of(wire), CALM)
        least = {"client/" + k: v for k, v in counters.items()}
        self.attack(act, times, {"client/" + reason: 1, **least})

    def test_pings(self):
        self.flood(frame_bytes(PING, 0, 0, b"12345678"), 20000, "ping_flood", ping_received=1900)

    def test_settings(self):
        self.flood(settings_bytes({4: 65535}), 20000, "settings_flood", settings_received=190)

    def test_settings_with_more_entries_than_allowed(self):
        def act():
            wire = self.open()
            payload = b"".join(struct.pack(">HI", 0x1000 + i, 1) for i in range(33))
            self.pour(wire, frame_bytes(h2wire.SETTINGS, 0, 0, payload))
            self.assertEqual(self.end_of(wire), CALM)
        self.attack(act, 1, {"client/settings_flood": 1})

    def test_priorities(self):
        self.flood(frame_bytes(PRIORITY, 0, 1, struct.pack(">IB", 3, 1)), 20000, "priority_flood", priority_received=1900)

    def test_goaways(self):
        self.flood(frame_bytes(GOAWAY, 0, 0, struct.pack(">II", 0, 0)), 20000, "goaway_flood", goaway_received=190)

    def test_frames_of_unknown_type(self):
        self.flood(frame_bytes(0xbe, 0, 1, b"?"), 50000, "unknown_frame_flood", unknown_frame=10000)

    def test_empty_data(self):
        self.flood(frame_bytes(DATA, 0, 1), 20000, "empty_data_flood", empty_data=1000)

    def test_data_of_padding_alone(self):
        padded = frame_bytes(DATA, h2wire.PADDED, 1, b"\x64" + b"\0" * 100)
        self.flood(padded, 20000, "empty_data_flood", empty_data=1000)

    def test_pings_of_a_client_that_does_not_read(self):
        def act():
            wire = self.open()
            wire.sock.settimeout(2)
            self.pour(wire, frame_bytes(PING, 0, 0, b"12345678") * 10000, 100)
        self.attack(act, 100000, {"client/ping_flood": 1})

    def test_window_updates_are_cheap_and_end_at_the_largest_window(self):
        def act():
            wire = self.open()
            wire.send_headers(1, request_fields(HANG))
            self.pour(wire, frame_bytes(WINDOW, 0, 1, struct.pack(">I", 1)) * 1000, 50)
            self.still_serves(wire, 3)
            self.pour(wire, frame_bytes(WINDOW, 0, 0, struct.pack(">I", 0x7fffffff)))
            self.assertEqual(self.end_of(wire), FLOW_CONTROL)
        self.attack(act, 50000, {"client/flow_control_error": 1})

    def test_data_of_one_byte_is_carried_at_the_price_of_its_frames(self):
        def act():
            wire = self.open()
            wire.send_headers(1, request_fields())
            body = message(b"x" * 15995)
            self.pour(wire, b"".join(frame_bytes(DATA, 0, 1, body[i:i + 1]) for i in range(len(body))))
            wire.send_data(1, b"", end=True)
            frames = wire.wait_for(lambda f: f.stream == 1 and f.type == HEADERS and f.flags & END_STREAM, 60)
            self.assertEqual(dict(frames[-1].headers)["grpc-status"], "0")
        self.attack(act, 16000, {})

    def test_requests_and_resets(self):
        """Rapid reset (CVE-2023-44487)."""
        def act():
            wire = self.open()
            self.pour(wire, b"".join(self.head(wire, i) + frame_bytes(RST, 0, i, struct.pack(">I", h2wire.CANCEL))
                                     for i in range(1, 20001, 2)))
            self.assertEqual(self.end_of(wire), CALM)
        self.attack(act, 10000, {"client/reset_flood": 1, "client/reset_received": 1000})
        self.wait_streams(0)

    def test_resets_that_the_client_makes_us_send(self):
        """MadeYouReset (CVE-2025-8671): every way of the client to have its own stream reset."""
        def u32(value):
            return struct.pack(">I", value)
        tricks = {
            "WINDOW_UPDATE of 0": lambda w, i: self.head(w, i) + frame_bytes(WINDOW, 0, i, u32(0)),
            "window overflow": lambda w, i: self.head(w, i) + frame_bytes(WINDOW, 0, i, u32(0x7fffffff)),
            "DATA after the end": lambda w, i: self.head(w, i, end=True) + frame_bytes(DATA, 0, i, b"x"),
            "HEADERS after the end": lambda w, i: (self.head(w, i, end=True) +
                                                   frame_bytes(HEADERS, END_HEADERS | END_STREAM, i, w.encode(TRAILERS))),
            "trailers without end": lambda w, i: self.head(w, i) + frame_bytes(HEADERS, END_HEADERS, i, w.encode(TRAILERS)),
            "PRIORITY of wrong length": lambda w, i: self.head(w, i) + frame_bytes(PRIORITY, 0, i, b"abc"),
            "PRIORITY on itself": lambda w, i: self.head(w, i) + frame_bytes(PRIORITY, 0, i, u32(i) + b"\1"),
            "more than content-length": lambda w, i: (self.head(w, i, extra=[("content-length", "1")]) +
                                                      frame_bytes(DATA, 0, i, b"xy")),
            "less than content-length": lambda w, i: (self.head(w, i, extra=[("content-length", "3")]) +
                                                      frame_bytes(DATA, END_STREAM, i, b"xy")),
            "malformed head": lambda w, i: self.head(w, i, extra=[("connection", "close")]),
            "empty head": lambda w, i: frame_bytes(HEADERS, END_HEADERS | END_STREAM, i, b""),
        }

        def act():
            for name, trick in tricks.items():
                with self.subTest(name):
                    wire = self.open()
                    self.pour(wire, b"".join(trick(wire, i) for i in range(1, 4001, 2)))
                    self.assertEqual(self.end_of(wire), CALM)
        self.attack(act, 2000 * len(tricks), {"client/stream_error_flood": len(tricks),
                                              "client/stream_error": 500 * len(tricks)})
        self.wait_streams(0)

    def test_streams_beyond_the_limit_are_refused_also_before_our_settings_are_acknowledged(self):
        def act():
            wire = self.open()
            self.pour(wire, b"".join(self.head(wire, i) for i in range(1, 401, 2)))
            refused = set()
            while len(refused) < 72:
                frame = wire.receive(30)
                self.assertNotEqual(frame.type, GOAWAY)
                if frame.type == RST:
                    self.assertEqual(frame.payload, struct.pack(">I", h2wire.REFUSED))
                    refused.add(frame.stream)
            self.assertEqual(refused, set(range(257, 401, 2)))
        self.attack(act, 200, {"client/stream_refused": 72})

    def test_refused_streams(self):
        def act():
            wire = self.open()
            self.pour(wire, b"".join(self.head(wire, i) for i in range(1, 10001, 2)))
            self.assertEqual(self.end_of(wire), CALM)
        self.attack(act, 5000, {"client/refused_stream_flood": 1, "client/stream_refused": 1000})

    def test_heads_for_a_stream_that_was_reset(self):
        def act():
            wire = self.open()
            self.pour(wire, self.head(wire, 1) + frame_bytes(WINDOW, 0, 1, b"\0\0\0\0"))
            trailers = wire.encode(TRAILERS)
            self.pour(wire, frame_bytes(HEADERS, END_HEADERS | END_STREAM, 1, trailers) * 1000, 5)
            self.assertEqual(self.end_of(wire), CALM)
        self.attack(act, 5000, {"client/closed_stream_flood": 1, "client/late_frame": 1000})

    def test_continuations(self):
        shapes = {
            "large": frame_bytes(CONTINUATION, 0, 1, b"\x00\x01a\x7f" + b"b" * 12000),
            "small": frame_bytes(CONTINUATION, 0, 1, b"\x82"),
            "empty": frame_bytes(CONTINUATION, 0, 1),
        }

        def act():
            for name, frame in shapes.items():
                with self.subTest(name):
                    wire = self.open()
                    self.pour(wire, frame_bytes(HEADERS, END_STREAM, 1, b"") + frame * 100, 10)
                    self.assertEqual(self.end_of(wire), CALM)
        self.attack(act, 3000, {"client/continuation_flood": 3, "client/continuation": 15})


if __name__ == "__main__":
    unittest.main()
