"""The flight recorder: frame headers on demand, by connection and stream, and before an error."""
import re
import signal
import unittest

import h2wire
import link
from rig import LIMIT_S, Rig, wait_until
from seeing import EchoServer

LINE = (r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z w\d+ c\d+ [<>] [A-Z_]+ stream=\d+ length=\d+"
        r"( flags=[A-Z_|]+)?$")


class Recorder(Rig):
    def setUp(self):
        super().setUp()
        self.echo = EchoServer(self)
        self.admin = self.folder.name + "/" + self.id().rsplit(".", 1)[1][:40]

    def recorded(self, targets=None, **keywords):
        return self.balancer([self.echo.port] if targets is None else targets, "--workers", "1", "--admin", self.admin,
                             **keywords)

    def watch(self):
        told = link.Link(self.admin, hello=False)
        self.addCleanup(told.close)
        return told

    def call(self, lb, payload=b"hello"):
        return self.channel(lb.port).unary_unary("/test.Echo/Call")(payload, timeout=LIMIT_S)

    def test_both_sides_of_a_call_are_there_in_order(self):
        lb = self.recorded()
        self.call(lb)
        lines = self.watch().recorded_frames()
        for line in lines:
            self.assertRegex(line, LINE)
        self.assertEqual(lines, sorted(lines, key=lambda line: line.split()[0]))
        words = [line.split() for line in lines]
        heads = [(w[2], w[3]) for w in words if w[4] == "HEADERS"]
        self.assertEqual(heads[0][1], "<")
        self.assertEqual(heads[1][1], ">")
        self.assertNotEqual(heads[0][0], heads[1][0], "the target's connection is another one")
        data = [w for w in words if w[4] == "DATA" and w[6] == "length=10"]
        self.assertEqual(len(data), 4, "the message in and out, the echo in and out")

    def test_frames_can_be_chosen_by_connection_and_stream(self):
        lb = self.recorded()
        channel = self.channel(lb.port).unary_unary("/test.Echo/Call")
        for _ in range(3):
            channel(b"x", timeout=LIMIT_S)
        told = self.watch()
        first = next(line for line in told.recorded_frames() if " < HEADERS " in line)
        connection = int(first.split()[2][1:])
        stream = int(re.search(r"stream=(\d+)", first).group(1))
        chosen = told.recorded_frames(connection=connection, stream_id=stream)
        self.assertEqual({line.split()[2] for line in chosen}, {f"c{connection}"})
        self.assertEqual({int(re.search(r"stream=(\d+)", line).group(1)) for line in chosen} - {0}, {stream})
        self.assertEqual(len(told.recorded_frames(limit=3)), 3)

    def test_the_signal_writes_the_latest_frames_to_the_log(self):
        lb = self.recorded()
        self.call(lb)
        lb.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: re.search(r"^frames \d+$", lb.said(), re.M), "the frames are written", LIMIT_S)
        wait_until(lambda: " < HEADERS stream=1 " in lb.said(), "with those of the call", LIMIT_S)
        self.assertEqual(self.call(lb), b"hello")

    def test_a_target_s_error_leaves_its_last_frames_in_the_log(self):
        def script(wire, _):
            h2wire.each_request(wire, lambda stream, *_: wire.reset(stream, h2wire.INTERNAL_ERROR))
        target = h2wire.Target(script)
        self.addCleanup(target.close)
        lb = self.recorded([target.port])
        with self.assertRaises(Exception):
            self.call(lb)
        wait_until(lambda: "frames before an error" in lb.said(), "the frames are in the log", LIMIT_S)
        self.assertRegex(lb.said(), r"error=INTERNAL_ERROR\n(  .*\n)*  .* < RST_STREAM stream=1 length=4")

    def test_a_client_that_breaks_the_protocol_leaves_its_last_frames_in_the_log(self):
        lb = self.recorded()
        wire = h2wire.open_client(lb.port, self.ca)
        wire.send(h2wire.DATA, 0, 0, b"x")
        wire.wait_for(lambda frame: frame.type == h2wire.GOAWAY)
        wire.close()
        wait_until(lambda: "error=DATA on stream 0" in lb.said(), "the frames are in the log", LIMIT_S)
        self.assertRegex(lb.said(), r"error=DATA on stream 0\n(  .*\n)*  .* < DATA stream=0 length=1")


if __name__ == "__main__":
    unittest.main()
