"""HTTP/2 by hand, for peers that misbehave on purpose: frames in and out of a blocking socket.

Debian: python3-hpack.
"""
import collections
import select
import socket
import ssl
import struct
import threading

import hpack

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL, REFUSED, CANCEL, CALM = 0, 1, 2, 3, 7, 8, 11

Frame = collections.namedtuple("Frame", "type flags stream payload headers")


def frame_bytes(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def settings_bytes(values):
    return frame_bytes(SETTINGS, 0, 0, b"".join(struct.pack(">HI", k, v) for k, v in values.items()))


def message(payload):
    """One gRPC message with its prefix."""
    return struct.pack(">BI", 0, len(payload)) + payload


class Wire:
    """One connection. send_* write at once; receive() gives the next frame or None at the end."""

    def __init__(self, sock):
        self.sock = sock
        self.input = b""
        self.encoder = hpack.Encoder()
        self.encoder.huffman = False
        self.decoder = hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 20
        self.block = b""
        self.lock = threading.Lock()
        self.io = threading.Lock()  # a TLS session takes one call at a time, reading and writing together
        self.timeout = 10
        self.error = None

    def close(self):
        self.sock.close()

    def try_tls(self, call, *arguments):
        """One call that does not block; None when the session has to wait for the socket."""
        with self.io:
            before = self.sock.gettimeout()
            self.sock.settimeout(0)
            try:
                return call(*arguments)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return None
            finally:
                self.sock.settimeout(before)

    def send_raw(self, data):
        if not isinstance(self.sock, ssl.SSLSocket):
            return self.sock.sendall(data)
        left = memoryview(data)
        while left:
            sent = self.try_tls(self.sock.send, left)
            if sent is None and not select.select([], [self.sock], [], 60)[1]:
                raise TimeoutError("the peer takes nothing")
            left = left[sent or 0:]

    def receive_raw(self):
        if not isinstance(self.sock, ssl.SSLSocket):
            return self.sock.recv(1 << 18)
        while True:
            got = self.try_tls(self.sock.recv, 1 << 18)
            if got is not None:
                return got
            if not select.select([self.sock], [], [], self.timeout)[0]:
                raise TimeoutError("nothing came")

    def send(self, kind, flags, stream, payload=b""):
        self.send_raw(frame_bytes(kind, flags, stream, payload))

    def encode(self, fields):
        return self.encoder.encode(fields, huffman=False)

    def send_headers(self, stream, fields, end=False):
        with self.lock:
            block, rest = (data := self.encode(fields))[:16384], data[16384:]
            frames = frame_bytes(HEADERS, (0 if rest else END_HEADERS) | (END_STREAM if end else 0), stream, block)
            while rest:
                block, rest = rest[:16384], rest[16384:]
                frames += frame_bytes(CONTINUATION, 0 if rest else END_HEADERS, stream, block)
            self.send_raw(frames)

    def send_data(self, stream, payload, end=False):
        self.send(DATA, END_STREAM if end else 0, stream, payload)

    def reset(self, stream, code=CANCEL):
        self.send(RST, 0, stream, struct.pack(">I", code))

    def credit(self, stream, size):
        self.send(WINDOW, 0, stream, struct.pack(">I", size))

    def goaway(self, last, code=NO_ERROR):
        self.send(GOAWAY, 0, 0, struct.pack(">II", last, code))

    def read_exactly(self, size):
        while len(self.input) < size:
            try:
                got = self.receive_raw()
            except (ConnectionError, ssl.SSLError) as error:
                if isinstance(error, (TimeoutError, socket.timeout)):
                    raise
                self.error = error
                return None
            if not got:
                return None
            self.input += got
        out, self.input = self.input[:size], self.input[size:]
        return out

    def receive(self, timeout=10):
        """The next frame (header blocks joined and decoded), None when the peer has closed."""
        self.sock.settimeout(timeout)
        self.timeout = timeout
        while True:
            head = self.read_exactly(9)
            if head is None:
                return None
            length = int.from_bytes(head[:3], "big")
            payload = self.read_exactly(length)
            if payload is None:
                return None
            kind, flags = head[3], head[4]
            stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
            if kind not in (HEADERS, CONTINUATION):
                return Frame(kind, flags, stream, payload, None)
            if kind == HEADERS:
                self.block, self.block_flags = b"", flags
            self.block += payload
            if flags & END_HEADERS:
                fields = [(str(k), str(v)) for k, v in self.decoder.decode(self.block)]
                return Frame(HEADERS, self.block_flags, stream, self.block, fields)

    def wait_for(self, wanted, timeout=10):
        """Frames up to and with the first one for which wanted(frame) holds; acknowledges SETTINGS and PING."""
        frames = []
        while True:
            frame = self.receive(timeout)
            if frame is None:
                return frames + [None]
            frames.append(frame)
            self.answer_control(frame)
            if wanted(frame):
                return frames

    def answer_control(self, frame):
        if frame.type == SETTINGS and not frame.flags & ACK:
            self.send(SETTINGS, ACK, 0)
        if frame.type == PING and not frame.flags & ACK:
            self.send(PING, ACK, 0, frame.payload)


def request_fields(path="/test.Test/Call", **more):
    fields = [(":method", "POST"), (":scheme", "https"), (":path", path), (":authority", "weir.test"),
              ("content-type", "application/grpc"), ("te", "trailers")]
    return fields + [(k.replace("_", "-"), v) for k, v in more.items()]


def open_client(port, ca=None, settings=None, alpn=("h2",), preface=True, address="127.0.0.1"):
    """A connection to the balancer: TLS when `ca` is given."""
    sock = socket.create_connection((address, port), timeout=10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if ca:
        context = ssl.create_default_context(cafile=ca)
        context.set_alpn_protocols(list(alpn))
        sock = context.wrap_socket(sock, server_hostname="weir.test")
    wire = Wire(sock)
    if preface:
        wire.send_raw(PREFACE + settings_bytes(settings or {}))
    return wire


class Target:
    """A scripted server: script(wire, target) runs in a thread for each connection, after the preface.

    executed counts what a real server would have executed; keys are chosen by the script.
    """

    def __init__(self, script, settings=None, greet=True, address="127.0.0.1"):
        self.script, self.settings, self.greet = script, settings or {}, greet
        self.listener = socket.create_server((address, 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.executed = collections.Counter()
        self.connections = 0
        self.lock = threading.Lock()
        self.wires = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.run, args=(Wire(sock), self.connections), daemon=True).start()

    def run(self, wire, number):
        wire.number = number
        self.wires.append(wire)
        try:
            wire.sock.settimeout(60)
            if self.greet:
                if wire.read_exactly(len(PREFACE)) != PREFACE:
                    return
                wire.send_raw(settings_bytes(self.settings))
            self.script(wire, self)
        except OSError:
            pass
        finally:
            wire.close()

    def count(self, key):
        with self.lock:
            self.executed[key] += 1

    def close(self):
        self.listener.close()
        for wire in self.wires:
            wire.close()


def ok_response(wire, stream, payload=b"ok"):
    wire.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
    wire.send_data(stream, message(payload))
    wire.send_headers(stream, [("grpc-status", "0")], end=True)


def each_request(wire, handle, no_credit=""):
    """Calls handle(stream, fields, body) for every request that has come whole, until the end. Requests for the path
    `no_credit` get no credit for their bodies.
    """
    open_streams = {}
    while True:
        frame = wire.receive(60)
        if frame is None:
            return
        wire.answer_control(frame)
        if frame.type == HEADERS:
            open_streams.setdefault(frame.stream, (frame.headers, []))  # the second ones are trailers
        elif frame.type == DATA and frame.stream in open_streams:
            open_streams[frame.stream][1].append(frame.payload)
            if frame.payload:
                wire.credit(0, len(frame.payload))
                path = dict(open_streams[frame.stream][0]).get(":path")
                if not frame.flags & END_STREAM and path != no_credit:
                    wire.credit(frame.stream, len(frame.payload))
        elif frame.type == RST:
            open_streams.pop(frame.stream, None)
        if frame.type in (HEADERS, DATA) and frame.flags & END_STREAM and frame.stream in open_streams:
            fields, body = open_streams.pop(frame.stream)
            handle(frame.stream, dict(fields), b"".join(body))
