"""What the conformance cases run against: one balancer as `weir serve` drives it, and the two ends of it.

ServerSide plays a client and tests the balancer's listener (TLS or cleartext); ClientSide plays a target and tests
the balancer as an HTTP/2 client. Both offer the same few words, so that most cases are written once.
"""
import os
import select
import socket
import ssl
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lb"))

import h2wire as h2  # noqa: E402
import link as L  # noqa: E402
from rig import LB, free_port, wait_until  # noqa: E402

LIMIT_S = 20  # for anything that must come
NAMES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
         "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"]
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
 REFUSED_STREAM, CANCEL, COMPRESSION_ERROR) = range(10)
KINDS = ["DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE",
         "CONTINUATION"]


class Failed(Exception):
    """The balancer did something else than the requirement says."""


def name_of(code):
    return NAMES[code] if code < len(NAMES) else str(code)


def u32(value):
    return struct.pack(">I", value)


def word(frame):
    """A frame in a message to people."""
    if frame is None:
        return "end"
    kind = KINDS[frame.type] if frame.type < len(KINDS) else f"type {frame.type}"
    code = ""
    if frame.type == h2.RST:
        code = " " + name_of(struct.unpack(">I", frame.payload)[0])
    if frame.type == h2.GOAWAY:
        code = " " + name_of(struct.unpack(">I", frame.payload[4:8])[0]) + " " + repr(bytes(frame.payload[8:]))
    return f"{kind}[{frame.stream}]{code}"


def literal(name, value, kind=0x00):
    """A literal of HPACK with a new name, in plain octets; kind 0x40 indexes it, 0x10 forbids indexing."""
    name = name if isinstance(name, bytes) else name.encode()
    value = value if isinstance(value, bytes) else value.encode()
    assert len(name) < 127 and len(value) < 127
    return bytes((kind, len(name))) + name + bytes((len(value),)) + value


def literals(fields):
    return b"".join(literal(name, value) for name, value in fields)


class End:
    """One connection with the balancer, in either role."""

    def __init__(self, wire):
        self.wire = wire
        self.seen = []
        self.window = 65535  # what the connection may still send, as the balancer has told
        self.initial_window = 65535
        self.settings = {}

    # --- receiving -------------------------------------------------------------------------------------------
    def next(self, limit=LIMIT_S):
        frame = self.wire.receive(limit)
        self.seen.append(frame)
        if frame is None:
            return None
        if frame.type == h2.SETTINGS and not frame.flags & h2.ACK:
            self.take_settings(frame.payload)
        if frame.type == h2.WINDOW and frame.stream == 0:
            self.window += struct.unpack(">I", frame.payload)[0] & 0x7FFFFFFF
        try:
            self.wire.answer_control(frame)
        except OSError:
            pass  # it has closed; what it said before still counts
        return frame

    def take_settings(self, payload):
        for at in range(0, len(payload), 6):
            key, value = struct.unpack_from(">HI", payload, at)
            self.settings[key] = value
        self.initial_window = self.settings.get(4, 65535)

    def until(self, wanted, what):
        """Frames up to and with the wanted one."""
        frames = []
        while True:
            try:
                frame = self.next()
            except TimeoutError as error:
                raise Failed(f"no {what} within {LIMIT_S} s; came: {self.tail()}") from error
            if frame is None:
                raise Failed(f"the connection ended instead of {what}; came: {self.tail()}")
            frames.append(frame)
            if wanted(frame):
                return frames

    def tail(self):
        return ", ".join(word(frame) for frame in self.seen[-6:])

    def ping(self):
        """Everything the balancer said up to its answer to a PING sent now."""
        self.pings = getattr(self, "pings", 0) + 1
        opaque = b"check%03d" % self.pings
        self.send(h2.PING, 0, 0, opaque)
        return self.until(lambda f: f.type == h2.PING and f.flags & h2.ACK and f.payload == opaque, "answer to PING")

    # --- sending ---------------------------------------------------------------------------------------------
    def send(self, kind, flags, stream, payload=b""):
        self.raw(h2.frame_bytes(kind, flags, stream, payload))

    def raw(self, data):
        try:
            self.wire.send_raw(data)
        except OSError:
            pass  # the balancer may have had enough; what it said is read next

    def headers(self, stream, block, flags=h2.END_HEADERS):
        self.send(h2.HEADERS, flags, stream, block)

    # --- expectations ----------------------------------------------------------------------------------------
    def connection_error(self, *codes):
        """A GOAWAY with one of these codes, and then the end of the connection."""
        frames = self.until(lambda f: f.type == h2.GOAWAY, "GOAWAY")
        code = struct.unpack(">I", frames[-1].payload[4:8])[0]
        if code not in codes:
            raise Failed(f"GOAWAY {name_of(code)} instead of {'/'.join(map(name_of, codes))}")
        while True:
            try:
                frame = self.next()
            except TimeoutError as error:
                raise Failed("GOAWAY came, but the connection stays open") from error
            if frame is None:
                return

    def stream_error(self, stream, *codes):
        """RST_STREAM with one of these codes; the connection goes on."""
        def wanted(frame):
            return frame.type == h2.GOAWAY or frame.type == h2.RST and frame.stream == stream
        frame = self.until(wanted, f"RST_STREAM[{stream}]")[-1]
        if frame.type == h2.GOAWAY:
            raise Failed(f"{word(frame)} instead of RST_STREAM {'/'.join(map(name_of, codes))}")
        code = struct.unpack(">I", frame.payload)[0]
        if code not in codes:
            raise Failed(f"RST_STREAM {name_of(code)} instead of {'/'.join(map(name_of, codes))}")
        self.ping()

    def unharmed(self, *streams):
        """No error of the connection, and none of these streams."""
        for frame in self.ping():
            if frame.type == h2.GOAWAY or frame.type == h2.RST and frame.stream in streams:
                raise Failed(f"{word(frame)} although nothing is wrong")

    def close(self):
        self.wire.close()


class Response:
    def __init__(self, frames, stream):
        self.frames = [f for f in frames if f.stream == stream]
        heads = [f for f in self.frames if f.type == h2.HEADERS]
        self.fields = dict(heads[0].headers) if heads else {}
        self.trailers = dict(heads[-1].headers) if len(heads) > 1 else {}
        self.status = self.fields.get(":status")
        self.body = b"".join(f.payload for f in self.frames if f.type == h2.DATA)
        self.ended = any(f.type in (h2.HEADERS, h2.DATA) and f.flags & h2.END_STREAM for f in self.frames)


class ServerSide(End):
    """We are a client of the balancer's listener. `role` says which end the balancer plays."""
    role = "server"

    def __init__(self, world, tls, settings=None, greet=True):
        self.world, self.tls = world, tls
        super().__init__(h2.open_client(world.ports[tls], world.ca if tls else None, preface=False))
        self.next_id = 1
        if greet:
            self.raw(h2.PREFACE + h2.settings_bytes(settings or {}))
            self.until(lambda f: f.type == h2.SETTINGS and f.flags & h2.ACK, "SETTINGS with ACK")

    def sibling(self, **keywords):
        return ServerSide(self.world, self.tls, **keywords)

    def request(self, path="/echo", method="POST", **more):
        fields = [(":method", method), (":scheme", "https" if self.tls else "http"), (":path", path),
                  (":authority", "weir.test")]
        return fields + [(k.replace("_", "-"), v) for k, v in more.items()]

    def new_id(self):
        self.next_id += 2
        return self.next_id - 2

    def idle_id(self):
        return self.next_id

    def block(self, fields):
        return self.wire.encode(fields)

    # A message head that is still to be sent: its stream, its block.
    def fresh(self, **more):
        return self.new_id(), self.block(self.request(**more))

    def fresh_fields(self):
        return self.new_id(), self.request()

    # Our head is sent, nothing is ended.
    def open(self, path="/hold"):
        stream = self.new_id()
        self.headers(stream, self.block(self.request(path)))
        return stream

    # Our side is ended, the balancer's is not.
    def half_closed(self):
        stream = self.new_id()
        self.headers(stream, self.block(self.request("/hold")), h2.END_HEADERS | h2.END_STREAM)
        return stream

    # Both sides are ended.
    def finished(self):
        stream = self.new_id()
        self.headers(stream, self.block(self.request("/echo")), h2.END_HEADERS | h2.END_STREAM)
        self.response(stream)
        return stream

    def outcome(self, stream):
        """All that came on a stream, up to its end: END_STREAM or RST_STREAM."""
        def over(frame):
            if frame.type == h2.GOAWAY:
                raise Failed(f"{word(frame)} instead of the end of stream {stream}")
            ends = frame.type == h2.RST or frame.type in (h2.HEADERS, h2.DATA) and frame.flags & h2.END_STREAM
            return frame.stream == stream and ends
        if not any(over(frame) for frame in self.seen if frame is not None and frame.type != h2.GOAWAY):
            self.until(over, f"an end of stream {stream}")
        return Response([frame for frame in self.seen if frame is not None], stream)

    def response(self, stream):
        response = self.outcome(stream)
        if response.status is None or not response.ended:
            raise Failed(f"no whole response but {', '.join(map(word, response.frames))}")
        return response

    def arrived(self, stream, body=None):
        """The message that ended on `stream` reached the other end whole."""
        response = self.response(stream)
        if response.status != "200" or body is not None and response.body != body:
            raise Failed(f"status {response.status}, {len(response.body)} octets of body")


class ClientSide(End):
    """We are a target; requests come from an honest client on the balancer's cleartext listener."""
    role = "client"

    def __init__(self, world, settings=None, greet=True, request_end=False):
        self.world = world
        self.front = ServerSide(world, tls=False)
        self.front_streams = {}
        self.greeted = greet
        self.first = self.ask(end=request_end)
        super().__init__(world.accept())
        preface = self.wire.read_exactly(len(h2.PREFACE))
        if preface != h2.PREFACE:
            raise Failed(f"the preface is {preface!r}")
        if greet:
            self.raw(h2.settings_bytes(settings or {}))
        self.given = 0
        self.front_ids = [self.first]
        self.stream = self.take(self.first)
        self.used_first = False
        if greet:
            # A PING rather than waiting for the acknowledgement: that may have come already.
            self.ping()

    def ask(self, end=False, fields=None):
        """The honest client makes a request; returns its stream there."""
        stream = self.front.new_id()
        flags = h2.END_HEADERS | (h2.END_STREAM if end else 0)
        fields = fields or self.front.request("/any", te="trailers", content_type="application/grpc")
        self.front.headers(stream, self.front.block(fields), flags)
        return stream

    def take(self, front_stream):
        """The request as it arrives here; returns its stream."""
        frame = self.until(lambda f: f.type == h2.HEADERS, "a request")[-1]
        self.request_fields = dict(frame.headers)
        self.front_streams[frame.stream] = front_stream
        return frame.stream

    def new_request(self, end=False):
        if not self.used_first and not end:
            self.used_first = True
            return self.stream
        return self.take(self.ask(end))

    def idle_id(self):
        return 9999

    def block(self, fields):
        return self.wire.encode(fields)

    def head(self, **more):
        fields = [(":status", "200"), ("content-type", "application/grpc")]
        return fields + [(k.replace("_", "-"), v) for k, v in more.items()]

    def fresh(self, **more):
        return self.new_request(), self.block(self.head(**more))

    def fresh_fields(self):
        return self.new_request(), self.head()

    def open(self):
        stream = self.new_request()
        self.headers(stream, self.block(self.head()))
        return stream

    def finished(self):
        stream = self.new_request(end=True)
        self.headers(stream, self.block(self.head(grpc_status="0")), h2.END_HEADERS | h2.END_STREAM)
        self.front.response(self.front_streams[stream])
        return stream

    def arrived(self, stream, body=None):
        response = self.front.response(self.front_streams[stream])
        if response.status != "200" or body is not None and response.body != body:
            raise Failed(f"the client got status {response.status}, {len(response.body)} octets of body")

    def client_hears(self, stream=None):
        """Whatever we did, the honest client is told: a response or a reset, on this stream alone."""
        response = self.front.outcome(self.front_streams[self.stream if stream is None else stream])
        self.front.ping()
        return response

    def close(self):
        super().close()
        self.front.close()


class Honest:
    """The target behind ServerSide: /echo, /hold (never answers), /stall (nor gives credit), /size/N, /trailers."""

    def __init__(self):
        self.target = h2.Target(self.script, settings={3: 1000})
        self.port = self.target.port

    @staticmethod
    def script(wire, target):
        def handle(stream, fields, body):
            path = fields[":path"]
            if path in ("/hold", "/stall"):
                return
            if path.startswith("/size/"):
                body = b"z" * int(path[6:])
            head = [(":status", "200"), ("content-type", "application/octet-stream")]
            if fields[":method"] == "HEAD":
                wire.send_headers(stream, head + [("content-length", "5")], end=True)
                return
            wire.send_headers(stream, head + [("x-method", fields[":method"])])
            trailers = path == "/trailers"
            for at in range(0, len(body), 16384):
                wire.send_data(stream, body[at:at + 16384])
            if trailers:
                wire.send_headers(stream, [("x-checksum", str(len(body)))], end=True)
            else:
                wire.send_data(stream, b"", end=True)
        h2.each_request(wire, handle, no_credit="/stall")


def wait_for_listener(port):
    def listens():
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0
    wait_until(listens, f"someone listens on port {port}")


class World:
    """A balancer with a TLS and a cleartext listener. Its target is `Honest`, a given port, or the case (`mirror`).

    With peer="nghttpx" that proxy stands in the balancer's place: to see that the cases can fail, and how.
    """

    def __init__(self, mirror=False, peer=None, target_port=None, target_tls=False):
        self.target_tls = None
        self.folder = tempfile.TemporaryDirectory(prefix="weir_conformance_")
        self.ca, self.key = self.folder.name + "/cert.pem", self.folder.name + "/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", self.key, "-out", self.ca, "-days", "2", "-subj", "/CN=weir.test", "-addext",
                        "subjectAltName=DNS:weir.test,IP:127.0.0.1"], check=True, capture_output=True)
        if target_tls:
            self.target_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.target_tls.load_cert_chain(self.ca, self.key)
            self.target_tls.set_alpn_protocols(["h2"])
        self.log = open(self.folder.name + "/log", "w+b")
        if mirror:
            self.acceptor = socket.create_server(("127.0.0.1", 0), backlog=64)
            target_port = self.acceptor.getsockname()[1]
        elif target_port is None:
            self.honest = Honest()
            target_port = self.honest.port
        self.ports, self.link = {}, None
        if peer:
            return self.start_peer(peer, target_port)
        path = self.folder.name + "/link.sock"
        self.process = subprocess.Popen([LB, "--link", path, "--workers", "1"], stderr=self.log)
        self.link = L.Link(path)
        self.configure(target_port)

    def start_peer(self, peer, target_port):
        self.ports = {True: free_port(), False: free_port()}
        self.process = subprocess.Popen(
            [peer, "--conf=/dev/null", "--workers=1", f"--frontend=127.0.0.1,{self.ports[True]}",
             f"--frontend=127.0.0.1,{self.ports[False]};no-tls", f"--backend=127.0.0.1,{target_port};;proto=h2",
             self.key, self.ca], stderr=self.log)
        for port in self.ports.values():
            wait_for_listener(port)

    def configure(self, target_port):
        listeners = []
        with open(self.ca, encoding="ascii") as chain, open(self.key, encoding="ascii") as key:
            pem = chain.read(), key.read()
        for tls in (True, False):
            sock = socket.create_server(("127.0.0.1", 0), backlog=512)
            sock.setblocking(False)
            self.ports[tls] = sock.getsockname()[1]
            arn = "tls" if tls else "clear"
            self.link.send(L.OPEN, L.listener_socket(arn, "127.0.0.1", self.ports[tls]), [sock.fileno()])
            listeners.append(L.listener(arn, *(pem if tls else ())))
            sock.close()
        target = L.target(target_port, last="healthy")
        group = L.group([target], in_use=False, version=1, tls=self.target_tls is not None)
        self.link.apply(1, L.snapshot(1, listeners, [group]))

    def accept(self):
        if not select.select([self.acceptor], [], [], LIMIT_S)[0]:
            raise Failed("the balancer did not connect to the target")
        sock, _ = self.acceptor.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(LIMIT_S)
        if self.target_tls is not None:
            sock = self.target_tls.wrap_socket(sock, server_side=True)
            if sock.selected_alpn_protocol() != "h2":
                raise Failed(f"the balancer chose {sock.selected_alpn_protocol()}")
        return h2.Wire(sock)

    def check_alive(self):
        if self.process.poll() is not None:
            self.log.seek(0)
            raise Failed(f"the balancer ended with {self.process.returncode}: "
                         + self.log.read()[-2000:].decode(errors="replace"))

    def close(self):
        if self.link:
            self.link.close()
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()


# --- the registry ----------------------------------------------------------------------------------------------
class Case:
    def __init__(self, group, section, number, text, run, sides, tls_only):
        self.group, self.section, self.number, self.text, self.run = group, section, number, text, run
        self.sides, self.tls_only = sides, tls_only
        self.id = f"{group}/{section}/{number}"


CASES = []


def case(group, section, text, sides=("server",), tls_only=False):
    def register(function):
        number = 1 + sum(c.group == group and c.section == section for c in CASES)
        CASES.append(Case(group, section, number, text, function, sides, tls_only))
        return function
    return register


BOTH = ("server", "client")
CLIENT = ("client",)
