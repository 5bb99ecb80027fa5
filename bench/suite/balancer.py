"""`weir lb` as the control plane runs it: a listener and a snapshot over the link (src/model/link.h).

A command line gives it targets only; rules, logs and the other settings that the measurements need come this way.
"""
import contextlib
import importlib.util
import os
import shutil
import socket
import struct
import threading

from .rig import ROOT

_spec = importlib.util.spec_from_file_location("weir_link", os.path.join(ROOT, "tests", "lb", "link.py"))
link = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(link)
text, items, record = link.text, link.items, link.record

LISTENER, GROUP = "listener", "targets"
ALGORITHMS = {"round_robin": 0, "least_outstanding_requests": 1, "weighted_random": 2}
PATH_PATTERN, HOST_HEADER = 0, 1


class Control(link.Link):
    """Only what configuring needs is looked at, so that releases with other statistics can be measured as well."""

    def note(self, kind, r):
        if kind in (link.WELCOME, link.APPLIED):
            super().note(kind, r)


def number(form, *values):
    return struct.pack("<" + form, *values)


def forward():
    return record(number("B", 0) + items([GROUP], lambda arn: record(text(arn) + number("I", 1))) +
                  number("H", 503) + text("") + text(""))


def rule(priority, patterns):
    condition = record(number("B", PATH_PATTERN) + text("") + items(patterns, text))
    return record(number("I", priority) + items([condition], lambda c: c) + forward())


def rules(count):
    """As many rules as asked for; only the last one matches what the load generator sends."""
    made = [rule(i, [f"/shop.Service{i}/*"]) for i in range(1, count)]
    return made + [rule(count, ["/bench.*"])] if count else []


def target(address, port):
    return record(text(address) + number("HBI", port, False, 0) + number("B", 1) + text("us-east-1a"))


def group(world, full):
    """Health checks with a plain call of the echo service; `full`: every feature that looks at each request.
    `checked` False: no checks, for measurements in which there are more targets than RPCs to spread them over."""
    check = record(text("/bench.Health/Check") + number("HIIII", 0, 30000, 5000, 5, 2) + text("0") + text("") +
                   number("BB", False, False) + text("") + items([], text) + number("B", False))
    unavailable = 1 << 14
    retry = record(number("III", unavailable if full else 0, 2, 20))
    outlier = record(number("BIIII", full, 1 << 13 | 1 << 14, 5, 30000, 34))
    rebalancing = record(number("BII", full, 5, 3600000))
    algorithm = ALGORITHMS[world.get("algorithm", "round_robin")]
    return record(text(GROUP) + number("BBIB", 0, algorithm, 2000, world.get("checked", True)) + check +
                  items(world["targets"], lambda t: target(*t)) +
                  number("BIBIIBI", False, 0, False, 1, 0, True, 0xffffffff) +
                  retry + outlier + number("B", 0) + rebalancing)


def listener(world, rule_count, full):
    pem = []
    for name in ("cert", "key"):
        with open(world[name], encoding="utf-8") as f:
            pem.append(f.read())
    certificate = record(text("certificate") + text(pem[0]) + text(pem[1]) + items(["localhost"], text))
    headers = [("x-frame-options", "DENY")] if full else []
    return record(text(LISTENER) + number("HB", 443, True) + text("ELBSecurityPolicy-TLS13-1-3-2021-06") +
                  items([certificate], lambda c: c) + items(rules(rule_count), lambda r: r) + forward() +
                  number("B", True) + items(headers, lambda h: text(h[0]) + text(h[1])) + items([], text))


def snapshot(world):
    full = world.get("full", False)
    logs = [record(text(world["dir"] + "/logs" if full else "") + text(name)) for name in ("access", "connection")]
    rule_count = world.get("rules", 10 if full else 0)
    return record(number("Q", 1) + text("bench") + number("BIIB", False, 3600000, 7 * 86400 * 1000, False) +
                  items([], text) + items([listener(world, rule_count, full)], lambda x: x) +
                  items([group(world, full)], lambda x: x) +
                  number("BBBBBIIBB", False, 0, full, full, full, 0, world.get("client_streams", 128), full, True) +
                  logs[0] + logs[1] + number("BB", 0, True))


def command(program, world):
    return [program, "lb", "--link", world["dir"] + "/link", "--workers", str(world.get("workers", 1))]


def read_on(connection, over):
    """Takes in what the balancer says each second, as the control plane would."""
    with contextlib.suppress(OSError):
        while not over.is_set():
            connection.settle(0.3)


@contextlib.contextmanager
def configured(world, patience):
    """Gives the balancer that command() has started its listener and its snapshot."""
    logs = world["dir"] + "/logs"
    shutil.rmtree(logs, ignore_errors=True)
    os.makedirs(logs)
    connection = Control(world["dir"] + "/link", hello=False)
    over = threading.Event()
    reader = threading.Thread(target=read_on, args=(connection, over))
    try:
        connection.send(link.HELLO)
        connection.wait(lambda: connection.welcome is not None, patience, "Welcome")
        with socket.create_server(("127.0.0.1", world["port"]), backlog=4096) as listening:
            listening.setblocking(False)
            connection.send(link.OPEN, link.listener_socket(LISTENER, "127.0.0.1", world["port"]),
                            [listening.fileno()])
            connection.send(link.SNAPSHOT, snapshot(world))
            connection.wait(lambda: connection.applied >= 1, patience, "Applied")
        if world.get("watched", True):
            reader.start()
        else:
            connection.close()  # no statistics each second
        yield
    finally:
        over.set()
        if reader.is_alive():
            reader.join()
        connection.close()
        shutil.rmtree(logs, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(world["dir"] + "/link")


def settings(full):
    """What the report says of the configuration."""
    common = ("over the link: HTTPS listener, TLS 1.3 policy, one GRPC target group (round_robin, health check each "
              "30 s), idle timeout 1 h, no limit of requests per connection, 128 streams, flight recorder on, adaptive "
              "windows on")
    if not full:
        return common + "; no rules, no logs (as its peers)"
    return common + ("; 10 rules of which the last matches, access log and connection log (ALB format), TLS headers, "
                     "client port in x-forwarded-for, invalid header fields dropped, a response header of the listener, "
                     "retries for UNAVAILABLE, outlier ejection, rebalancing, PING counts as life")
