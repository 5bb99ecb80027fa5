"""The control plane's side of the link, by hand (src/model/link.h is the reference)."""
import array
import os
import socket
import struct
import time

(HELLO, WELCOME, OPEN, CLOSE, SNAPSHOT, GROUP, APPLIED, HEALTH, DRAINED, STATS, SHUTDOWN, STREAMS_REQUEST, STREAMS,
 FRAMES_REQUEST, FRAMES) = range(15)
ROW_TEXTS = ("method", "client", "target", "group")
ROW_NUMBERS = ("age_ms", "idle_ms", "request_messages", "response_messages", "request_bytes", "response_bytes",
               "request_rate", "response_rate", "byte_rate", "waiting_bytes")
ORDERS = ("rate", "bytes", "messages", "age", "idle", "blocked")
BLOCKS = ("none", "client_window", "client_connection", "target_window", "target_connection", "no_target")
STATES = ["initial", "healthy", "unhealthy", "unused", "draining"]
REASONS = ["", "Elb.RegistrationInProgress", "Elb.InitialHealthChecking", "Target.ResponseCodeMismatch",
           "Target.Timeout", "Target.FailedHealthChecks", "Elb.InternalError", "Target.NotInUse",
           "Target.DeregistrationInProgress"]


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<I", len(data)) + data


def items(values, each):
    return struct.pack("<I", len(values)) + b"".join(each(v) for v in values)


def record(data):
    """A structure stands behind its length; members at its end may be left out."""
    return struct.pack("<I", len(data)) + data


def listener_socket(arn, address, port, vpc=False):
    return record(record(text(arn) + text(address) + struct.pack("<HB", port, vpc)))


def target(port, draining=False, elapsed_ms=0, last="initial", address="127.0.0.1"):
    return record(text(address) + struct.pack("<HBI", port, draining, elapsed_ms) +
                  struct.pack("<B", STATES.index(last)) + text(""))


def group(targets, arn="group", in_use=True, delay_ms=2000, path="/grpc.health.v1.Health/Check", interval_ms=200,
          timeout_ms=150, healthy=2, unhealthy=2, codes="0", http_codes="", payload=True, port=0, algorithm=0,
          version=0, tls=False, service="", metadata=(), watch=False, slow_start_ms=0, anomaly=False, healthy_count=1,
          healthy_percent=0, drain_idle=True, retry=(0, 2, 20), outlier=(False, 1 << 13 | 1 << 14, 5, 30000, 34),
          placement=0, rebalancing=(False, 5, 30000)):
    check = text(path) + struct.pack("<HIIII", port, interval_ms, timeout_ms, healthy, unhealthy) + text(codes)
    check += text(http_codes) + struct.pack("<BB", payload, False) + text(service)
    check += items(metadata, lambda pair: text(pair[0]) + text(pair[1])) + struct.pack("<B", watch)
    tail = struct.pack("<BIBIIBI", bool(tls), slow_start_ms, anomaly, healthy_count, healthy_percent, drain_idle, 0xffffffff)
    tail += record(struct.pack("<III", *retry)) + record(struct.pack("<BIIII", *outlier))
    tail += struct.pack("<B", placement) + record(struct.pack("<BII", *rebalancing))
    return record(text(arn) + struct.pack("<BBIB", version, algorithm, delay_ms, in_use) + record(check) +
                  items(targets, lambda t: t) + tail)


def forward(arn="group"):
    return record(struct.pack("<B", 0) + items([arn], lambda a: record(text(a) + struct.pack("<I", 1))))


def path_rule(priority, path, arn):
    """Requests for the path pattern go to the target group."""
    condition = record(struct.pack("<B", 0) + text("") + items([path], text) + items([], text) + items([], text))
    return record(struct.pack("<I", priority) + items([condition], lambda c: c) + forward(arn))


def listener(arn, certificate=None, key=None, port=443, rules=()):
    certificates = [] if certificate is None else [
        record(text("cert") + text(certificate) + text(key) + items([], text))]
    return record(text(arn) + struct.pack("<HB", port, certificate is not None) +
                  text("ELBSecurityPolicy-TLS13-1-2-2021-06") + items(certificates, lambda c: c) + items(rules, lambda r: r) +
                  forward())


def settings_tail(slow_reader_ms, health_log):
    """What stands behind the groups in a snapshot, with defaults, up to the log of health checks."""
    logs = record(text("") + text(""))
    return (struct.pack("<BBBBBIIBB", 0, 0, 0, 0, 0, 1000000, 128, 0, 1) + logs + logs +
            struct.pack("<BBI", 0, 1, slow_reader_ms) + record(text(health_log) + text("health_check_log_")))


def snapshot(generation, listeners, groups, idle_ms=60000, ingress=None, slow_reader_ms=None, health_log=""):
    """health_log: the folder of the log of health checks."""
    rules = ingress or []
    tail = b"" if slow_reader_ms is None and not health_log else settings_tail(slow_reader_ms or 300000, health_log)
    return record(struct.pack("<Q", generation) + text("lb") +
                  struct.pack("<BIIB", 0, idle_ms, 3600000, ingress is not None) +
                  items(rules, lambda cidr: record(text(cidr) + struct.pack("<HH", 0, 65535))) +
                  items(listeners, lambda x: x) + items(groups, lambda x: x) + tail)


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

    def record(self, each):
        end = self.take("I") + self.at
        value = each()
        self.at = end
        return value

    def many(self, each):
        return [self.record(each) for _ in range(self.take("I"))]


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
        self.anomaly = {}
        self.health, self.history, self.drained, self.stats, self.applied = {}, [], [], None, 0
        self.welcome = None
        self.metrics, self.groups, self.methods, self.rows, self.frames, self.open_streams = {}, {}, {}, [], [], 0
        self.answers = 0  # Streams and Frames that came
        self.defences = {}  # {"side/kind": count}
        if hello:
            self.send(HELLO)
            self.wait(lambda: self.welcome is not None)

    def close(self):
        self.sock.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def send(self, kind, body=record(b""), fds=(), version=2):
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
            reader.take("I")
            self.note(kind, reader)

    def note(self, kind, r):
        if kind == WELCOME:
            pid, generation = r.take("IQ")
            self.welcome = (pid, generation, r.many(lambda: (r.text(), r.text(), *r.take("HB"))))
        elif kind == APPLIED:
            self.applied = max(self.applied, r.take("Q"))
        elif kind == HEALTH:
            for arn, _, port, state, reason, words, anomaly in r.many(
                    lambda: (r.text(), r.text(), r.take("H"), r.take("B"), r.take("B"), r.text(), r.take("BBB"))):
                self.health[port] = (STATES[state], REASONS[reason], words)
                self.anomaly[port] = anomaly  # known, anomalous, mitigated
                self.history.append((arn, port, STATES[state]))
        elif kind == DRAINED:
            self.drained.append((r.text(), r.text(), r.take("H"))[2])
        elif kind == STATS:
            totals = r.take("QQQQ")
            self.stats = (totals, r.many(lambda: (r.text(), r.text(), r.take("H"), *r.take("QQQ"))))
            self.metrics = self.metric_values(r)
            self.groups = {}
            for arn, _, metrics, _ in r.many(lambda: (r.text(), r.text(), self.metric_values(r), self.histogram(r))):
                for name, value in metrics.items():
                    group_metrics = self.groups.setdefault(arn, {})
                    group_metrics[name] = group_metrics.get(name, 0) + value
            self.methods = dict(r.many(lambda: self.method(r)))
            self.defences = {f"{side}/{kind}": count for _, side, kind, count in
                             r.many(lambda: (r.text(), r.text(), r.text(), r.take("Q")))}
        elif kind == STREAMS:
            _, self.open_streams = r.take("QQ")
            self.rows = r.many(lambda: self.row(r))
            self.answers += 1
        elif kind == FRAMES:
            r.take("Q")
            self.frames = [r.text() for _ in range(r.take("I"))]
            self.answers += 1

    @staticmethod
    def metric_values(r):
        return {name: value for name, value, _ in r.many(lambda: (r.text(), r.take("Q"), r.take("B")))}

    @staticmethod
    def histogram(r):
        return r.record(lambda: (*r.take("QQ"), r.many(lambda: r.take("HQ"))))

    def method(self, r):
        name, still_open, started = r.text(), *r.take("QQ")
        codes = [r.take("Q") for _ in range(r.take("I"))]
        requests, responses = r.take("QQ")
        self.histogram(r)
        return name, {"open": still_open, "started": started, "ended": sum(codes), "codes": codes,
                      "request_messages": requests, "response_messages": responses}

    @staticmethod
    def row(r):
        row = {"key": r.take("Q")}
        for name in ROW_TEXTS:
            row[name] = r.text()
        for name in ROW_NUMBERS:
            row[name] = r.take("Q")
        row["blocked"] = BLOCKS[r.take("B")]
        row["deadline_ms"], row["attempts"], row["is_grpc"], row["connection"], row["stream_id"] = r.take("QBBII")
        return row

    def streams(self, order="rate", limit=100, skip=0, text_filter="", wait_s=30):
        """One report on open streams."""
        before = self.answers
        self.send(STREAMS_REQUEST, record(struct.pack("<QBII", 7, ORDERS.index(order), limit, skip) +
                                          text(text_filter)))
        self.wait(lambda: self.answers > before, wait_s, "Streams")
        return self.rows

    def recorded_frames(self, limit=1000, connection=0, stream_id=0, wait_s=30):
        before = self.answers
        self.send(FRAMES_REQUEST, record(struct.pack("<QIII", 7, limit, connection, stream_id)))
        self.wait(lambda: self.answers > before, wait_s, "Frames")
        return self.frames

    def apply(self, generation, body, kind=SNAPSHOT):
        self.send(kind, body)
        self.wait(lambda: self.applied >= generation, what=f"Applied {generation}")

    def update(self, generation, body):
        self.apply(generation, record(struct.pack("<Q", generation) + body), GROUP)

    def words(self, port):
        """What is said about the target's health; nothing as long as none is known."""
        return self.health.get(port, (None, None, ""))[2]

    def state(self, port):
        return self.health.get(port, (None,))[0]
