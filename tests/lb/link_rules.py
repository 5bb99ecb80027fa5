"""Listeners, rules and settings of a load balancer for the link, by hand (src/model/link.cc is the reference)."""
import struct

from link import items, record, text

PATH, HOST, HEADER, QUERY, METHOD, SOURCE_IP = range(6)
APPEND, PRESERVE, REMOVE = range(3)
GRPC, HTTP2 = range(2)


def pair(values):
    return text(values[0]) + text(values[1])


def forward(*groups):
    """Names of groups, or (name, weight)."""
    shares = [g if isinstance(g, tuple) else (g, 1) for g in groups]
    return record(struct.pack("<B", 0) + items(shares, lambda s: record(text(s[0]) + struct.pack("<I", s[1]))))


def fixed(status, content_type="", body=""):
    return record(struct.pack("<B", 1) + items([], text) + struct.pack("<H", status) + text(content_type) + text(body))


def condition(field, *values, name="", query=(), regex=()):
    return record(struct.pack("<B", field) + text(name) + items(values, text) + items(query, pair) +
                  items(regex, text))


def rule(priority, conditions, action):
    return record(struct.pack("<I", priority) + items(conditions, lambda c: c) + action)


def listener(arn, default, rules=(), certificate=None, key=None, port=443, server=True, response=(), renamed=()):
    certificates = [] if certificate is None else [
        record(text("cert") + text(certificate) + text(key) + items([], text))]
    return record(text(arn) + struct.pack("<HB", port, certificate is not None) +
                  text("ELBSecurityPolicy-TLS13-1-2-2021-06") + items(certificates, lambda c: c) +
                  items(rules, lambda r: r) + default + struct.pack("<B", server) + items(response, pair) +
                  items(renamed, pair))


def group(arn, targets, version=GRPC, idle_ms=0xFFFFFFFF, delay_ms=2000):
    """Not checked: targets are what their `last` says."""
    check = text("/") + struct.pack("<HIIII", 0, 1000, 500, 2, 2) + text("0") + text("") + struct.pack("<B", 1)
    return record(text(arn) + struct.pack("<BBIB", version, 0, delay_ms, 0) + record(check) +
                  items(targets, lambda t: t) + struct.pack("<BIBIIBI", 0, 0, 0, 1, 0, 1, idle_ms))


def snapshot(generation, listeners, groups, strict=False, idle_ms=60000, keep_alive_ms=3600000, preserve_host=False,
             xff=APPEND, xff_port=False, tls_headers=False, drop_invalid=False, requests_max=10000, streams_max=128,
             ping_counts=False):
    return record(struct.pack("<Q", generation) + text("lb") +
                  struct.pack("<BIIB", strict, idle_ms, keep_alive_ms, False) + items([], text) +
                  items(listeners, lambda x: x) + items(groups, lambda x: x) +
                  struct.pack("<BBBBBIIB", preserve_host, xff, xff_port, tls_headers, drop_invalid, requests_max,
                              streams_max, ping_counts))
