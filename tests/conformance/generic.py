"""Group generic: what every HTTP/2 peer must take. Numbering by sections of our own list, one for each frame type."""
import h2wire as h2
from world import BOTH, Failed, case, literal, u32

END_BOTH = h2.END_HEADERS | h2.END_STREAM
PRIORITY_FLAG = 0x20


@case("generic", "1", "a connection begins with the preface and SETTINGS", BOTH)
def preface(p):
    p.unharmed()


@case("generic", "2", "PRIORITY for a stream that is idle", BOTH)
def priority_idle(p):
    p.send(h2.PRIORITY, 0, p.idle_id(), u32(0) + b"\xff")
    p.unharmed()


@case("generic", "2", "WINDOW_UPDATE on a stream that the sender has half-closed")
def window_half_closed(p):
    stream = p.half_closed()
    p.send(h2.WINDOW, 0, stream, u32(100))
    p.unharmed(stream)


@case("generic", "2", "PRIORITY on a stream that the sender has half-closed")
def priority_half_closed(p):
    stream = p.half_closed()
    p.send(h2.PRIORITY, 0, stream, u32(0) + b"\xff")
    p.unharmed(stream)


@case("generic", "2", "RST_STREAM on a stream that the sender has half-closed")
def reset_half_closed(p):
    stream = p.half_closed()
    p.send(h2.RST, 0, stream, u32(h2.CANCEL))
    p.unharmed(stream)


@case("generic", "2", "PRIORITY on a stream that is closed", BOTH)
def priority_closed(p):
    stream = p.finished()
    p.send(h2.PRIORITY, 0, stream, u32(0) + b"\xff")
    p.unharmed(stream)


@case("generic", "3.1", "one DATA frame", BOTH)
def one_data(p):
    stream = echo_head(p)
    p.send(h2.DATA, h2.END_STREAM, stream, b"test")
    p.arrived(stream, b"test")


def echo_head(p):
    stream, block = p.fresh()
    p.headers(stream, block)
    return stream


@case("generic", "3.1", "several DATA frames", BOTH)
def several_data(p):
    stream = echo_head(p)
    p.send(h2.DATA, 0, stream, b"te")
    p.send(h2.DATA, 0, stream, b"s")
    p.send(h2.DATA, h2.END_STREAM, stream, b"t")
    p.arrived(stream, b"test")


@case("generic", "3.1", "DATA with padding, which is not delivered", BOTH)
def padded_data(p):
    stream = echo_head(p)
    p.send(h2.DATA, h2.END_STREAM | h2.PADDED, stream, b"\x06test" + b"\0" * 6)
    p.arrived(stream, b"test")


@case("generic", "3.2", "one HEADERS frame", BOTH)
def one_headers(p):
    stream, block = p.fresh()
    p.headers(stream, block, END_BOTH)
    p.arrived(stream, b"")


@case("generic", "3.2", "HEADERS with padding", BOTH)
def padded_headers(p):
    stream, block = p.fresh()
    p.headers(stream, b"\x09" + block + b"\0" * 9, END_BOTH | h2.PADDED)
    p.arrived(stream, b"")


@case("generic", "3.2", "HEADERS with a priority", BOTH)
def headers_with_priority(p):
    stream, block = p.fresh()
    p.headers(stream, u32(0) + b"\xff" + block, END_BOTH | PRIORITY_FLAG)
    p.arrived(stream, b"")


def priority_case(text, payload):
    @case("generic", "3.3", text, BOTH)
    def check(p):
        stream = p.open()
        p.send(h2.PRIORITY, 0, stream, payload)
        p.unharmed(stream)
    return check


priority_case("PRIORITY of the lowest weight", u32(0) + b"\x00")
priority_case("PRIORITY of the highest weight", u32(0) + b"\xff")
priority_case("PRIORITY that depends on another stream", u32(401) + b"\x10")
priority_case("PRIORITY that is exclusive", u32(0x80000000 | 401) + b"\x10")


@case("generic", "3.3", "PRIORITY for an idle stream does not use up the ids below it", BOTH)
def priority_then_lower(p):
    p.send(h2.PRIORITY, 0, p.idle_id() + 200, u32(0) + b"\xff")
    stream, block = p.fresh()
    p.headers(stream, block, END_BOTH)
    p.arrived(stream)


@case("generic", "3.4", "RST_STREAM ends a stream and nothing else", BOTH)
def reset(p):
    stream = p.open()
    p.send(h2.RST, 0, stream, u32(h2.CANCEL))
    p.unharmed(stream)


@case("generic", "3.5", "SETTINGS are acknowledged", BOTH)
def settings(p):
    p.raw(h2.settings_bytes({1: 4096, 4: 65535, 5: 16384}))
    p.until(lambda f: f.type == h2.SETTINGS and f.flags & h2.ACK and not f.payload and f.stream == 0, "SETTINGS ACK")


@case("generic", "3.7", "PING is answered with its eight octets", BOTH)
def ping(p):
    p.send(h2.PING, 0, 0, b"\x01\xff\0octet")
    p.until(lambda f: f.type == h2.PING and f.flags == h2.ACK and f.payload == b"\x01\xff\0octet", "PING ACK")


@case("generic", "3.8", "GOAWAY: streams under way end in their own time", BOTH)
def goaway(p):
    stream = echo_head(p)
    p.send(h2.GOAWAY, 0, 0, u32(0 if p.role == "server" else stream) + u32(h2.NO_ERROR))
    p.send(h2.DATA, h2.END_STREAM, stream, b"still here")
    p.arrived(stream, b"still here")


@case("generic", "3.9", "WINDOW_UPDATE of the connection", BOTH)
def window_connection(p):
    p.send(h2.WINDOW, 0, 0, u32(1))
    p.unharmed()


@case("generic", "3.9", "WINDOW_UPDATE of a stream", BOTH)
def window_stream(p):
    stream = p.open()
    p.send(h2.WINDOW, 0, stream, u32(1))
    p.unharmed(stream)


@case("generic", "3.10", "a header block in HEADERS and one CONTINUATION", BOTH)
def one_continuation(p):
    stream, block = p.fresh(x_note="n" * 40)
    p.headers(stream, block[:20], h2.END_STREAM)
    p.send(h2.CONTINUATION, h2.END_HEADERS, stream, block[20:])
    p.arrived(stream)


@case("generic", "3.10", "a header block in HEADERS and several CONTINUATION", BOTH)
def several_continuations(p):
    stream, block = p.fresh(x_note="n" * 40)
    p.headers(stream, block[:5], h2.END_STREAM)
    p.send(h2.CONTINUATION, 0, stream, block[5:9])
    p.send(h2.CONTINUATION, 0, stream, b"")
    p.send(h2.CONTINUATION, h2.END_HEADERS, stream, block[9:])
    p.arrived(stream)


def exchange(p, method, body=b"", trailers=None, path="/echo"):
    stream = p.new_id()
    p.headers(stream, p.block(p.request(path, method)), h2.END_HEADERS | (0 if body or trailers else h2.END_STREAM))
    if body:
        p.send(h2.DATA, 0 if trailers else h2.END_STREAM, stream, body)
    if trailers:
        p.headers(stream, p.block(trailers), END_BOTH)
    return p.response(stream)


@case("generic", "4", "a GET request and its response")
def get(p):
    response = exchange(p, "GET", path="/size/10")
    if (response.status, response.body, response.fields["x-method"]) != ("200", b"z" * 10, "GET"):
        raise Failed(f"{response.fields} {response.body}")


@case("generic", "4", "a HEAD request: a length and no body")
def head(p):
    response = exchange(p, "HEAD")
    if (response.status, response.body, response.fields["content-length"]) != ("200", b"", "5"):
        raise Failed(f"{response.fields} {response.body}")


@case("generic", "4", "a POST request with a body")
def post(p):
    response = exchange(p, "POST", b"body")
    if (response.status, response.body) != ("200", b"body"):
        raise Failed(f"{response.fields} {response.body}")


@case("generic", "4", "a POST request with trailers, and a response with trailers")
def post_with_trailers(p):
    response = exchange(p, "POST", b"body", [("x-sum", "1")], path="/trailers")
    if (response.status, response.body, response.trailers) != ("200", b"body", {"x-checksum": "4"}):
        raise Failed(f"{response.fields} {response.body} {response.trailers}")


# --- 5: every representation of HPACK ------------------------------------------------------------------------
def huffman(text):
    import hpack.huffman
    import hpack.huffman_constants as c
    return hpack.huffman.HuffmanEncoder(c.REQUEST_CODES, c.REQUEST_CODES_LENGTH).encode(text.encode())


def text_octets(text, packed):
    data = huffman(text) if packed else text.encode()
    return bytes(((0x80 if packed else 0) | len(data),)) + data


def representation(text, make):
    """make(p) gives octets behind the message head; whatever they are, the message must pass."""
    @case("generic", "5", text, BOTH)
    def check(p):
        stream, block = p.fresh()
        p.headers(stream, block + make(p), END_BOTH)
        p.arrived(stream)
    return check


representation("an indexed field of the static table", lambda p: b"\x90")  # accept-encoding: gzip, deflate
for form, first, bits in (("with indexing", 0x40, 6), ("without indexing", 0x00, 4), ("never indexed", 0x10, 4)):
    # 33 is "date"; in four bits it does not fit and spills over into a second octet.
    indexed = bytes((first | 33,)) if bits == 6 else bytes((first | 15, 33 - 15))
    for packed in (False, True):
        how = "in Huffman code" if packed else "in plain octets"
        representation(f"a literal {form}, its name from the table, the value {how}",
                       lambda p, i=indexed, k=packed: i + text_octets("today", k))
        representation(f"a literal {form}, name and value {how}",
                       lambda p, i=first, k=packed: bytes((i,)) + text_octets("x-note", k) + text_octets("today", k))


@case("generic", "5", "one dynamic table size update in front of a block", BOTH)
def table_size(p):
    stream, block = fresh_without_table(p)
    p.headers(stream, b"\x20" + block, END_BOTH)
    p.arrived(stream)


@case("generic", "5", "two dynamic table size updates in front of a block", BOTH)
def table_sizes(p):
    stream, block = fresh_without_table(p)
    p.headers(stream, b"\x20\x3f\x61" + block, END_BOTH)  # 0, then 128
    p.arrived(stream)


def fresh_without_table(p):
    stream, fields = p.fresh_fields()
    return stream, b"".join(literal(name, value) for name, value in fields)
