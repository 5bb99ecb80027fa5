"""The control plane's side of the link, by hand (src/model/link.h is the reference)."""
import array
import os
import socket
import struct
import time

HELLO, WELCOME, OPEN, CLOSE, SNAPSHOT, GROUP, APPLIED, HEALTH, DRAINED, STATS, SHUTDOWN = range(11)
STATES = ["initial", "healthy", "unhealthy", "unused", "draining"]
REASONS = ["", "Elb.RegistrationInProgress", "Elb.InitialHealthChecking", "Target.ResponseCodeMismatch",
           "Target.Timeout", "Target.FailedHealthChecks", "Elb.InternalError", "Target.NotInUse",
           "Target.DeregistrationInProgress"]


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<I", len(data)) + data


def items(values, each):
    return struct.pack("<I", len(values)) + b"".join(each(v) for v in values)


def listener_socket(arn, address, port, vpc=False):
    return text(arn) + text(address) + struct.pack("<HB", port, vpc)


def target(port, draining=False, elapsed_ms=0, last="initial", address="127.0.0.1"):
    return (text(address) + struct.pack("<HBI", port, draining, elapsed_ms) +
            struct.pack("<B", STATES.index(last)) + text(""))


def group(targets, arn="group", in_use=True, delay_ms=2000, path="/grpc.health.v1.Health/Check", interval_ms=200,
          timeout_ms=150, healthy=2, unhealthy=2, codes="0", http_codes="", payload=True, port=0, algorithm=0):
    check = text(path) + struct.pack("<HIIII", port, interval_ms, timeout_ms, healthy, unhealthy) + text(codes)
    check += text(http_codes)
    return (text(arn) + struct.pack("<BBIB", 0, algorithm, delay_ms, in_use) + check + struct.pack("<B", payload) +
            items(targets, lambda t: t))


def forward(arn="group"):
    return struct.pack("<B", 0) + items([arn], lambda a: text(a) + struct.pack("<I", 1)) + struct.pack(
        "<H", 503) + text("") + text("")


def listener(arn, certificate=None, key=None, port=443):
    certificates = [] if certificate is None else [text("cert") + text(certificate) + text(key) + items([], text)]
    return (text(arn) + struct.pack("<HB", port, certificate is not None) +
            text("ELBSecurityPolicy-TLS13-1-2-2021-06") + items(certificates, lambda c: c) + items([], text) + forward())


def snapshot(generation, listeners, groups, idle_ms=60000, ingress=None):
    rules = ingress or []
    return (struct.pack("<Q", generation) + text("lb") + struct.pack("<BIIB", 0, idle_ms, 3600000, ingress is not None) +
            items(rules, lambda cidr: text(cidr) + struct.pack("<HH", 0, 65535)) + items(listeners, lambda x: x) +
            items(groups, lambda x: x))


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values if len(values) > 1 else values[0]

    def text(self):
        size = self.take("I")
        self.at += size
        return self.data[self.at - size:self.at].decode()

    def many(self, each):
        return [each() for _ in range(self.take("I"))]


class Link:
    """Connects as `weir serve` does. Messages that nobody asked for are kept in `health`, `stats`, `drained`."""

    def __init__(self, path, hello=True):
        self.sock = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 10
        while True:
            try:
                self.sock.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        self.input, self.fds = b"", []
        self.health, self.history, self.drained, self.stats, self.applied = {}, [], [], None, 0
        self.welcome = None
        if hello:
            self.send(HELLO)
            self.wait(lambda: self.welcome is not None)

    def close(self):
        self.sock.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def send(self, kind, body=b"", fds=(), version=1):
        frame = struct.pack("<IHH", len(body) + 4, version, kind) + body
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.sock.sendmsg([frame], ancillary)
        self.sock.sendall(frame[sent:])

    def wait(self, condition, limit=10, what="a message"):
        end = time.monotonic() + limit
        while not condition():
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f"not within {limit} s: {what}; health {self.health}")
            self.sock.settimeout(min(left, 0.5))
            try:
                data, ancillary, _, _ = self.sock.recvmsg(65536, socket.CMSG_SPACE(256 * 4))
            except TimeoutError:
                continue
            if not data:
                raise ConnectionError("the balancer closed the link")
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self.fds += list(array.array("i", content[:len(content) - len(content) % 4]))
            self.input += data
            self.parse()

    def settle(self, seconds):
        """Takes in what comes for so long."""
        end = time.monotonic() + seconds
        try:
            self.wait(lambda: time.monotonic() > end, seconds)
        except AssertionError:
            pass

    def parse(self):
        while len(self.input) >= 4:
            size = struct.unpack_from("<I", self.input)[0]
            if len(self.input) < size + 4:
                return
            reader = Reader(self.input[4:size + 4])
            self.input = self.input[size + 4:]
            _, kind = reader.take("HH")
            self.note(kind, reader)

    def note(self, kind, r):
        if kind == WELCOME:
            pid, generation = r.take("IQ")
            self.welcome = (pid, generation, r.many(lambda: (r.text(), r.text(), *r.take("HB"))))
        elif kind == APPLIED:
            self.applied = max(self.applied, r.take("Q"))
        elif kind == HEALTH:
            for arn, _, port, state, reason, words in r.many(
                    lambda: (r.text(), r.text(), r.take("H"), r.take("B"), r.take("B"), r.text())):
                self.health[port] = (STATES[state], REASONS[reason], words)
                self.history.append((arn, port, STATES[state]))
        elif kind == DRAINED:
            self.drained.append((r.text(), r.text(), r.take("H"))[2])
        elif kind == STATS:
            totals = r.take("QQQQ")
            self.stats = (totals, r.many(lambda: (r.text(), r.text(), r.take("H"), *r.take("QQQ"))))

    def apply(self, generation, body, kind=SNAPSHOT):
        self.send(kind, body)
        self.wait(lambda: self.applied >= generation, what=f"Applied {generation}")

    def update(self, generation, body):
        self.apply(generation, struct.pack("<Q", generation) + body, GROUP)

    def state(self, port):
        return self.health.get(port, (None,))[0]
