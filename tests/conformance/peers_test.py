"""Foreign HTTP/2 programs through the balancer: nghttp2's h2load, nghttp and nghttpd, and Python's h2 at both ends.

Debian: nghttp2-client, nghttp2-server, python3-h2.
"""
import hashlib
import os
import re
import socket
import ssl
import subprocess
import threading
import unittest

import h2.config
import h2.connection
import h2.events

import world
from rig import free_port

BODY = os.urandom(200_000)


def run(*command):
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{command}: {done.stderr[-2000:]}{done.stdout[-2000:]}")
    return done.stdout


class Nghttp2(unittest.TestCase):
    """h2load and nghttp as clients, nghttpd as the target."""

    @classmethod
    def setUpClass(cls):
        port = free_port()
        cls.place = world.World(target_port=port)
        cls.addClassCleanup(cls.place.close)
        with open(cls.place.folder.name + "/large", "wb") as file:
            file.write(BODY)
        cls.server = subprocess.Popen(["nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", cls.place.folder.name,
                                       "--trailer", "x-sum: 7", str(port)], stdout=subprocess.DEVNULL)
        cls.addClassCleanup(cls.server.wait)
        cls.addClassCleanup(cls.server.kill)
        world.wait_for_listener(port)

    def address(self, tls):
        return f"{'https' if tls else 'http'}://127.0.0.1:{self.place.ports[tls]}/large"

    def test_h2load_gets_every_response_whole_over_tls_and_in_the_clear(self):
        for tls in (True, False):
            said = run("h2load", "-n", "400", "-c", "8", "-m", "20", "-w", "14", "-W", "16", self.address(tls)).decode()
            self.assertRegex(said, r"400 total, 400 started, 400 done, 400 succeeded, 0 failed, 0 errored")
            self.assertRegex(said, r"status codes: 400 2xx")
            self.assertEqual(int(re.search(r"\((\d+)\) data", said).group(1)), 400 * len(BODY))

    def test_nghttp_gets_a_body_and_trailers(self):
        for tls in (True, False):
            self.assertEqual(run("nghttp", "-y", self.address(tls)), BODY)
            self.assertIn(b"x-sum: 7", run("nghttp", "-v", "-n", "-y", self.address(tls)))

    def test_nghttp_with_padding_tiny_windows_and_no_header_table(self):
        got = run("nghttp", "-y", "-b", "200", "-w", "9", "-W", "12", "-c", "0", self.address(True))
        self.assertEqual(got, BODY)

    def test_nghttp_sends_a_body_in_frames_and_continuations(self):
        more = [f"-Hx-fill-{i}: {'v' * 900}" for i in range(24)]  # more than one frame of 16 KiB
        run("nghttp", "-y", "-n", "--continuation", "-d", self.place.folder.name + "/large", *more, self.address(True))


class H2Server:
    """Answers each request with the SHA-256 of its body, and trailers."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    @staticmethod
    def serve(sock):
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        sums = {}
        with sock:
            while True:
                sock.sendall(connection.data_to_send())
                data = sock.recv(65536)
                if not data:
                    return
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        sums[event.stream_id] = hashlib.sha256()
                    elif isinstance(event, h2.events.DataReceived):
                        sums[event.stream_id].update(event.data)
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, h2.events.StreamEnded):
                        stream = event.stream_id
                        connection.send_headers(stream, [(":status", "200"), ("x-kind", "sum")])
                        connection.send_data(stream, sums.pop(stream).hexdigest().encode())
                        connection.send_headers(stream, [("x-end", "1")], end_stream=True)


class PythonH2(unittest.TestCase):
    def exchange(self, place, tls, bodies):
        """One connection, one stream for each body; returns {stream: (status, body, trailers)}."""
        sock = socket.create_connection(("127.0.0.1", place.ports[tls]), timeout=30)
        if tls:
            context = ssl.create_default_context(cafile=place.ca)
            context.set_alpn_protocols(["h2"])
            sock = context.wrap_socket(sock, server_hostname="weir.test")
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        connection.initiate_connection()
        left, got = {}, {}
        for body in bodies:
            stream = connection.get_next_available_stream_id()
            connection.send_headers(stream, [(":method", "POST"), (":scheme", "https" if tls else "http"),
                                             (":authority", "weir.test"), (":path", "/sum")])
            left[stream], got[stream] = body, [None, b"", None]
        with sock:
            while any(answer[2] is None for answer in got.values()):
                self.send_what_fits(connection, left)
                sock.sendall(connection.data_to_send())
                data = sock.recv(65536)
                self.assertTrue(data, "the balancer closed the connection")
                for event in connection.receive_data(data):
                    self.take(connection, event, got)
        return got

    @staticmethod
    def send_what_fits(connection, left):
        progress = True
        while progress:
            progress = False
            for stream, body in list(left.items()):
                size = min(connection.local_flow_control_window(stream), 16384, len(body))
                if size == 0 and body:
                    continue
                progress = True
                left[stream] = body[size:]
                connection.send_data(stream, body[:size], end_stream=not left[stream])
                if not left[stream]:
                    del left[stream]

    def take(self, connection, event, got):
        if isinstance(event, h2.events.ResponseReceived):
            got[event.stream_id][0] = dict(event.headers)[":status"]
        elif isinstance(event, h2.events.DataReceived):
            got[event.stream_id][1] += event.data
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            got[event.stream_id][2] = dict(event.headers)
        elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
            self.fail(str(event))

    def test_twenty_bodies_at_once_arrive_whole_with_trailers(self):
        server = H2Server()
        self.addCleanup(server.listener.close)
        place = world.World(target_port=server.port)
        self.addCleanup(place.close)
        bodies = [os.urandom(size) for size in (0, 1, 16383, 16384, 16385, 100_000, 300_000, *range(1000, 14000, 1000))]
        for tls in (True, False):
            got = self.exchange(place, tls, bodies)
            for body, answer in zip(bodies, got.values()):
                self.assertEqual(answer, ["200", hashlib.sha256(body).hexdigest().encode(), {"x-end": "1"}])


if __name__ == "__main__":
    unittest.main()
