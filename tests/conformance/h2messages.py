"""Group http2, section 8: messages (the section numbers are those of RFC 7540), and group hpack."""
import h2wire as h2
from generic import END_BOTH
from world import BOTH, COMPRESSION_ERROR, PROTOCOL_ERROR, case, literal, literals


def refused(p, fields, end=True, data=()):
    """A request of these fields (literals, in plain octets) is an error of its stream."""
    stream = p.new_id()
    p.headers(stream, literals(fields), END_BOTH if end else h2.END_HEADERS)
    for at, payload in enumerate(data):
        p.send(h2.DATA, h2.END_STREAM if at == len(data) - 1 else 0, stream, payload)
    p.stream_error(stream, PROTOCOL_ERROR)


def request_case(group, section, text, change, **keywords):
    """change(fields) makes a request of a good one that must be refused."""
    @case(group, section, text)
    def check(p):
        fields = p.request()
        fields = change(fields) or fields
        refused(p, fields, **keywords)
    return check


def without(name):
    return lambda fields: [f for f in fields if f[0] != name]


def replaced(name, value):
    return lambda fields: [(n, value if n == name else v) for n, v in fields]


def added(*more):
    return lambda fields: fields + list(more)


def in_front(*more):
    return lambda fields: list(more) + fields


@case("http2", "8.1", "a second HEADERS frame without END_STREAM is PROTOCOL_ERROR of the stream", BOTH)
def second_headers(p):
    stream, block = p.fresh()
    p.headers(stream, block)
    p.headers(stream, p.block([("x-more", "1")]))
    p.stream_error(stream, PROTOCOL_ERROR)


request_case("http2", "8.1.2", "a field name in upper case is malformed", added(("X-Test", "ok")))
request_case("http2", "8.1.2.1", "an unknown pseudo-header field is malformed", added((":test", "ok")))
request_case("http2", "8.1.2.1", "a pseudo-header field of responses in a request is malformed",
             added((":status", "200")))


@case("http2", "8.1.2.1", "a pseudo-header field in trailers is malformed", BOTH)
def pseudo_in_trailers(p):
    stream, block = p.fresh()
    p.headers(stream, block)
    p.headers(stream, literals([(":method" if p.role == "server" else ":status", "200")]), END_BOTH)
    p.stream_error(stream, PROTOCOL_ERROR)


request_case("http2", "8.1.2.1", "a pseudo-header field behind a regular one is malformed",
             lambda fields: fields[:2] + [("x-test", "ok")] + fields[2:])
request_case("http2", "8.1.2.2", "connection is malformed", added(("connection", "keep-alive")))
request_case("http2", "8.1.2.2", "te other than trailers is malformed", added(("te", "trailers, deflate")))
request_case("http2", "8.1.2.3", "an empty :path is malformed", replaced(":path", ""))
request_case("http2", "8.1.2.3", ":method left out is malformed", without(":method"))
request_case("http2", "8.1.2.3", ":scheme left out is malformed", without(":scheme"))
request_case("http2", "8.1.2.3", ":path left out is malformed", without(":path"))
request_case("http2", "8.1.2.3", ":method twice is malformed", in_front((":method", "POST")))
request_case("http2", "8.1.2.3", ":scheme twice is malformed", in_front((":scheme", "http")))
request_case("http2", "8.1.2.3", ":path twice is malformed", in_front((":path", "/")))
request_case("http2", "8.1.2.6", "content-length that differs from one DATA frame is malformed",
             added(("content-length", "1")), end=False, data=[b"test"])
request_case("http2", "8.1.2.6", "content-length that differs from the sum of several DATA frames is malformed",
             added(("content-length", "5")), end=False, data=[b"test", b"test"])


@case("http2", "8.2", "PUSH_PROMISE is PROTOCOL_ERROR: no client sends it, and push is off", BOTH)
def push(p):
    stream = p.open()
    p.send(h2.PUSH, h2.END_HEADERS, stream, b"\0\0\0\2" + literals([(":method", "GET"), (":scheme", "http"),
                                                                   (":authority", "a"), (":path", "/")]))
    p.connection_error(PROTOCOL_ERROR)


# --- hpack: the section numbers are those of RFC 7541 ----------------------------------------------------------
def block_case(section, text, tail=b"", front=b""):
    """The block of a good message head with these octets behind or in front of it does not decode."""
    @case("hpack", section, text, BOTH)
    def check(p):
        stream, fields = p.fresh_fields()
        p.headers(stream, front + literals(fields) + tail, END_BOTH)
        p.connection_error(COMPRESSION_ERROR)
    return check


block_case("2.3.3", "an index behind the end of both tables", b"\xc6")
block_case("2.3.3", "a literal whose name has an index behind the end of both tables", b"\x7f\x07\x03end")
block_case("4.2", "a dynamic table size update at the end of a block", b"\x20")
# "a" has the five bits 00011: eight of them fill five octets.
block_case("5.2", "Huffman code padded with more than seven bits", literal("x", "")[:-1] + b"\x86\x18\xc6\x31\x8c\x63\xff")
block_case("5.2", "Huffman code padded with zeros", literal("x", "")[:-1] + b"\x81\x18")
block_case("5.2", "Huffman code with EOS in it", literal("x", "")[:-1] + b"\x84\xff\xff\xff\xff")
block_case("6.1", "index 0", b"\x80")
block_case("6.3", "a dynamic table size update above what was announced", front=b"\x3f\xe2\x1f")
