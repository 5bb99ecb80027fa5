"""Group rfc9113: what RFC 9113 demands of a server beyond the usual list; sections are its own."""
import socket
import ssl

import h2wire as h2
from generic import END_BOTH, echo_head, huffman
from h2frames import data_within
from h2messages import added, in_front, refused, replaced, request_case, without
from world import (BOTH, COMPRESSION_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, NO_ERROR, PROTOCOL_ERROR,
                   REFUSED_STREAM, STREAM_CLOSED, Failed, case, literal, literals, u32)


# --- 3.4 to 5: connections and streams ----------------------------------------------------------------------------
@case("rfc9113", "3.4", "the first frame of a peer is SETTINGS, anything else is PROTOCOL_ERROR")
def no_settings(p):
    q = p.sibling(greet=False)
    q.raw(h2.PREFACE)
    q.send(h2.PING, 0, 0, b"12345678")
    q.connection_error(PROTOCOL_ERROR)


@case("rfc9113", "3.4", "the preface may come octet by octet")
def slow_preface(p):
    q = p.sibling(greet=False)
    for octet in h2.PREFACE + h2.settings_bytes({3: 10}):
        q.raw(bytes((octet,)))
    q.unharmed()


@case("rfc9113", "3.4", "requests may come with the preface, before the server's SETTINGS are known")
def early_request(p):
    q = p.sibling(greet=False)
    q.raw(h2.PREFACE + h2.settings_bytes({}))
    stream, block = q.fresh()
    q.headers(stream, block, END_BOTH)
    q.arrived(stream)


@case("rfc9113", "4.2", "SETTINGS of more than 16,384 octets are FRAME_SIZE_ERROR", BOTH)
def large_settings(p):
    p.send(h2.SETTINGS, 0, 0, b"\0\xff\0\0\0\0" * 2731)
    p.connection_error(FRAME_SIZE_ERROR)


@case("rfc9113", "4.2", "no frame is longer than the peer's MAX_FRAME_SIZE")
def frames_not_longer(p):
    stream = p.new_id()
    p.headers(stream, p.block(p.request("/size/60000", "GET")), END_BOTH)
    longest = max(len(f.payload) for f in p.response(stream).frames)
    if longest > 16384:
        raise Failed(f"a frame of {longest} octets")


@case("rfc9113", "4.3", "a header block may be cut anywhere", BOTH)
def cut_anywhere(p):
    for cut in range(0, 30, 3):
        stream, fields = p.fresh_fields()
        block = literals(fields)
        p.headers(stream, block[:cut], h2.END_STREAM)
        p.send(h2.CONTINUATION, h2.END_HEADERS, stream, block[cut:])
        p.arrived(stream)


@case("rfc9113", "4.3", "the tables live on in a block whose message is malformed", BOTH)
def table_after_malformed(p):
    stream, fields = p.fresh_fields()
    p.headers(stream, literals(fields) + literal("x-kept", "value", 0x40) + literal("X-Bad", "1"), END_BOTH)
    p.stream_error(stream, PROTOCOL_ERROR)
    stream, fields = p.fresh_fields()
    p.headers(stream, literals(fields) + b"\xbe", END_BOTH)  # 62: the youngest entry
    p.arrived(stream)


@case("rfc9113", "4.3", "the tables live on in a block of a refused stream")
def table_after_refused(p):
    streams = [p.open() for _ in range(p.settings[3])]
    stream = p.new_id()
    p.headers(stream, literals(p.request()) + literal("x-kept", "value", 0x40), END_BOTH)
    p.stream_error(stream, REFUSED_STREAM)
    p.send(h2.RST, 0, streams[0], u32(h2.CANCEL))
    p.ping()
    stream = p.new_id()
    p.headers(stream, literals(p.request()) + b"\xbe", END_BOTH)
    p.arrived(stream)


@case("rfc9113", "5.1", "closed streams take RST_STREAM, WINDOW_UPDATE and PRIORITY", BOTH)
def late_frames(p):
    stream = p.finished()
    p.send(h2.WINDOW, 0, stream, u32(5))
    p.send(h2.RST, 0, stream, u32(h2.CANCEL))
    p.send(h2.PRIORITY, 0, stream, u32(0) + b"\1")
    p.unharmed(stream)


@case("rfc9113", "5.1.1", "the highest id opens a stream, and none can follow it")
def highest_id(p):
    p.headers(0x7fffffff, p.block(p.request()), END_BOTH)
    p.arrived(0x7fffffff)
    p.headers(0x7ffffffd, p.block(p.request()), END_BOTH)
    p.connection_error(PROTOCOL_ERROR, STREAM_CLOSED)


@case("rfc9113", "5.1.1", "ids may be skipped; skipped ones are closed")
def skipped_ids(p):
    p.headers(101, p.block(p.request()), END_BOTH)
    p.arrived(101)
    p.send(h2.WINDOW, 0, 51, u32(5))
    p.unharmed(51)


@case("rfc9113", "5.1.2", "a stream that ends makes room for another")
def room_again(p):
    streams = [p.open() for _ in range(p.settings[3])]
    p.send(h2.RST, 0, streams[7], u32(h2.CANCEL))
    stream, block = p.fresh()
    p.headers(stream, block, END_BOTH)
    p.arrived(stream)


# --- 6: frames -------------------------------------------------------------------------------------------------------
@case("rfc9113", "6.1", "padding is flow-controlled and given back: the windows do not shrink", BOTH)
def padding_returned(p):
    stream = echo_head(p)
    for _ in range(80):  # 20 KiB of padding per 80 octets, more than a window of 64 KiB in all
        for _ in range(16):
            p.send(h2.DATA, h2.PADDED, stream, b"\xff" + b"p" + b"\0" * 255)
        p.ping()
    p.send(h2.DATA, h2.END_STREAM, stream, b"")
    p.arrived(stream, b"p" * 1280)


@case("rfc9113", "6.1", "DATA on a stream that the receiver has reset is charged to the connection and given back", BOTH)
def discarded_returned(p):
    window = p.window
    for _ in range(3):
        stream, fields = p.fresh_fields()
        p.headers(stream, literals(fields) + literal("X-Bad", "1"))
        p.stream_error(stream, PROTOCOL_ERROR)
        for _ in range(8):
            p.send(h2.DATA, 0, stream, b"x" * 16384)
        p.ping()
    stream, block = p.fresh()
    p.headers(stream, block, END_BOTH)
    p.arrived(stream)
    if window <= 0:
        raise Failed("the window was never open")


@case("rfc9113", "6.1", "DATA beyond a stream's window is FLOW_CONTROL_ERROR")
def beyond_window(p):
    stream = p.open("/stall")
    # The balancer hands on what the target's window takes, and gives credit for that.
    for _ in range(0, p.initial_window + 65535 + 3 * 16384, 16384):
        p.send(h2.DATA, 0, stream, b"x" * 16384)
    frame = p.until(lambda f: f.type == h2.GOAWAY or f.type == h2.RST and f.stream == stream, "an error")[-1]
    code = int.from_bytes(frame.payload[4:8] if frame.type == h2.GOAWAY else frame.payload, "big")
    if code != FLOW_CONTROL_ERROR:
        raise Failed(f"code {code}")


@case("rfc9113", "6.5.2", "HEADER_TABLE_SIZE of 0: blocks need no dynamic table")
def no_table(p):
    p.raw(h2.settings_bytes({1: 0}))
    p.until(lambda f: f.type == h2.SETTINGS and f.flags & h2.ACK, "SETTINGS ACK")
    p.wire.decoder.max_allowed_table_size = 0
    for _ in range(3):
        stream, block = p.fresh()
        p.headers(stream, block, END_BOTH)
        p.arrived(stream)
    if p.wire.decoder.header_table_size != 0:
        raise Failed("no table size update came")


@case("rfc9113", "6.5.2", "MAX_CONCURRENT_STREAMS of 0 and MAX_HEADER_LIST_SIZE are taken from a client")
def harmless_settings(p):
    p.raw(h2.settings_bytes({3: 0, 6: 100000}))
    stream, block = p.fresh()
    p.headers(stream, block, END_BOTH)
    p.arrived(stream)


@case("rfc9113", "6.5.2", "ENABLE_PUSH of 1 is a client's right")
def push_allowed(p):
    p.raw(h2.settings_bytes({2: 1}))
    p.unharmed()


@case("rfc9113", "6.8", "the reserved bit of GOAWAY's last id is ignored", BOTH)
def goaway_reserved(p):
    p.send(h2.GOAWAY, 0, 0, u32(0xffffffff) + u32(NO_ERROR))
    p.ping()


@case("rfc9113", "6.8", "GOAWAY of less than 8 octets is FRAME_SIZE_ERROR", BOTH)
def goaway_short(p):
    p.send(h2.GOAWAY, 0, 0, u32(0))
    p.connection_error(FRAME_SIZE_ERROR)


@case("rfc9113", "6.8", "GOAWAY may come twice, with a lower last id", BOTH)
def goaway_twice(p):
    p.send(h2.GOAWAY, 0, 0, u32(0x7fffffff) + u32(NO_ERROR))
    p.send(h2.GOAWAY, 0, 0, u32(0x7ffffffd) + u32(NO_ERROR) + b"bye")
    p.ping()


@case("rfc9113", "6.8", "GOAWAY that raises its last id is PROTOCOL_ERROR", BOTH)
def goaway_raised(p):
    stream = p.open()
    p.send(h2.GOAWAY, 0, 0, u32(stream) + u32(NO_ERROR))
    p.send(h2.GOAWAY, 0, 0, u32(stream + 2) + u32(NO_ERROR))
    p.connection_error(PROTOCOL_ERROR)


@case("rfc9113", "6.9", "the reserved bit of WINDOW_UPDATE is ignored", BOTH)
def window_reserved(p):
    stream = p.open()
    p.send(h2.WINDOW, 0, stream, u32(0x80000001))
    p.send(h2.WINDOW, 0, 0, u32(0x80000001))
    p.unharmed(stream)


@case("rfc9113", "6.9.1", "the connection's window bounds all streams together")
def connection_window(p):
    p.raw(h2.settings_bytes({4: 1000000}))
    got = 0
    for _ in range(3):
        stream = p.new_id()
        p.headers(stream, p.block(p.request("/size/60000", "GET")), END_BOTH)
    while got < 65535:
        frame = p.until(lambda f: f.type == h2.DATA, "DATA")[-1]
        got += len(frame.payload)
    got += sum(len(f.payload) for f in p.ping() if f.type == h2.DATA)
    if got != 65535:
        raise Failed(f"{got} octets")
    p.send(h2.WINDOW, 0, 0, u32(1 << 20))
    while got < 180000:
        got += len(p.until(lambda f: f.type == h2.DATA, "DATA")[-1].payload)


@case("rfc9113", "6.9.1", "END_STREAM needs no window")
def end_without_window(p):
    p.raw(h2.settings_bytes({4: 0}))
    stream = p.new_id()
    p.headers(stream, p.block(p.request("/size/0", "GET")), END_BOTH)
    p.arrived(stream)


@case("rfc9113", "6.9.2", "a window of 1 and credit octet by octet: the whole body comes")
def octet_by_octet(p):
    p.raw(h2.settings_bytes({4: 0}))
    stream = p.new_id()
    p.headers(stream, p.block(p.request("/size/12", "GET")), END_BOTH)
    for _ in range(12):
        p.send(h2.WINDOW, 0, stream, u32(1))
        data_within(p, stream, 1)


# --- 8: messages -----------------------------------------------------------------------------------------------------
for what, octet in (("NUL", 0), ("carriage return", 13), ("line feed", 10)):
    request_case("rfc9113", "8.2.1", f"{what} in a value is malformed", added(("x-test", b"a" + bytes((octet,)) + b"b")))
request_case("rfc9113", "8.2.1", "a space in front of a value is malformed", added(("x-test", " a")))
request_case("rfc9113", "8.2.1", "a tab behind a value is malformed", added(("x-test", "a\t")))
request_case("rfc9113", "8.2.1", "a space in a name is malformed", added(("x test", "a")))
request_case("rfc9113", "8.2.1", "a control character in a name is malformed", added((b"x\x1ftest", "a")))
request_case("rfc9113", "8.2.1", "DEL and octets above it in a name are malformed", added((b"x\x7ftest", "a")))
request_case("rfc9113", "8.2.1", "a name beyond ASCII is malformed", added((b"x\xc3\xa9", "a")))
request_case("rfc9113", "8.2.1", "a colon within a name is malformed", added(("x:test", "a")))
request_case("rfc9113", "8.2.1", "an empty name is malformed", added(("", "a")))
for name, value in (("keep-alive", "timeout=5"), ("proxy-connection", "keep-alive"), ("transfer-encoding", "chunked"),
                    ("upgrade", "h2c")):
    request_case("rfc9113", "8.2.2", f"{name} is malformed", added((name, value)))
request_case("rfc9113", "8.3.1", ":authority twice is malformed", in_front((":authority", "weir.test")))
request_case("rfc9113", "8.3.1", ":path without a slash in front is malformed", replaced(":path", "echo"))
request_case("rfc9113", "8.3.1", ":path * is for OPTIONS alone", replaced(":path", "*"))
request_case("rfc9113", "8.3.1", "an empty :method is malformed", replaced(":method", ""))
request_case("rfc9113", "8.5", "CONNECT with :scheme and :path is malformed or refused",
             lambda fields: [f for f in replaced(":method", "CONNECT")(fields) if f[0] not in (":scheme", ":path")])
request_case("rfc9113", "8.1.1", "content-length with END_STREAM on HEADERS and no body is malformed",
             added(("content-length", "3")))
request_case("rfc9113", "8.1.1", "content-length that is no number is malformed", added(("content-length", "+4")))
request_case("rfc9113", "8.1.1", "two content-lengths that differ are malformed",
             added(("content-length", "4"), ("content-length", "5")), end=False, data=[b"test"])
request_case("rfc9113", "8.1.1", "content-length with too few octets of DATA is malformed",
             added(("content-length", "9")), end=False, data=[b"test"])


@case("rfc9113", "8.1.1", "content-length with the right octets passes")
def right_length(p):
    stream = p.new_id()
    p.headers(stream, p.block(p.request() + [("content-length", "4")]))
    p.send(h2.DATA, 0, stream, b"te")
    p.send(h2.DATA, h2.END_STREAM, stream, b"st")
    p.arrived(stream, b"test")


@case("rfc9113", "8.1", "trailers without END_STREAM, or with more behind them, are malformed")
def trailers_then_data(p):
    stream = echo_head(p)
    p.send(h2.DATA, 0, stream, b"test")
    p.headers(stream, p.block([("x-sum", "1")]))
    p.stream_error(stream, PROTOCOL_ERROR)


@case("rfc9113", "8.2.3", "cookie crumbs pass")
def cookies(p):
    stream = p.new_id()
    p.headers(stream, p.block(p.request()) + literals([("cookie", "a=1"), ("cookie", "b=2")]), END_BOTH)
    p.arrived(stream)


@case("rfc9113", "8.3.1", "a request without :authority passes")
def no_authority(p):
    stream = p.new_id()
    p.headers(stream, p.block(without(":authority")(p.request())), END_BOTH)
    p.arrived(stream)


@case("rfc9113", "8.2.2", "te: trailers passes")
def te_trailers(p):
    stream = p.new_id()
    p.headers(stream, p.block(p.request() + [("te", "trailers")]), END_BOTH)
    p.arrived(stream)


@case("rfc9113", "8.2.1", "a malformed request does not reach the target, and its neighbours do")
def neighbour(p):
    other = echo_head(p)
    refused(p, p.request() + [("x-test", b"a\0b")])
    p.send(h2.DATA, h2.END_STREAM, other, b"fine")
    p.arrived(other, b"fine")


@case("rfc9113", "8.1.1", "an answer of the balancer's own to HEAD has no body either")
def own_answer_to_head(p):
    stream = p.new_id()
    p.headers(stream, p.block(p.request("/echo", "HEAD") + [(f"x-{i}", "v") for i in range(200)]), END_BOTH)
    response = p.response(stream)
    if response.status[0] != "4" or response.body:
        raise Failed(f"status {response.status}, {len(response.body)} octets of body")


# --- HPACK, RFC 7541 -------------------------------------------------------------------------------------------------
def bad_block(section, text, tail):
    @case("rfc7541", section, text, BOTH)
    def check(p):
        stream, fields = p.fresh_fields()
        p.headers(stream, literals(fields) + tail, END_BOTH)
        p.connection_error(COMPRESSION_ERROR)
    return check


bad_block("5.1", "an integer that does not fit in 32 bits", b"\xff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")
bad_block("5.1", "an integer that the block's end cuts off", b"\xff\x80")
bad_block("5.2", "a text longer than the block", b"\x00\x01x\x7e")
bad_block("5.2", "a text whose length is near 2^32", b"\x00\x01x\x7f\xff\xff\xff\xff\x0f")
bad_block("4.2", "a dynamic table size update between fields", b"\x20\x90")


@case("rfc7541", "4.4", "an entry larger than the table empties it, and is no error", BOTH)
def oversized_entry(p):
    stream, fields = p.fresh_fields()
    large = b"\x40\x06x-note\x7f" + b"\xa1\x1f" + b"n" * 4128
    p.headers(stream, literals(fields) + large, END_BOTH)
    p.arrived(stream)
    stream, fields = p.fresh_fields()
    p.headers(stream, literals(fields) + b"\xbe", END_BOTH)
    p.connection_error(COMPRESSION_ERROR)


@case("rfc7541", "5.2", "an empty text in Huffman code", BOTH)
def empty_huffman(p):
    stream, fields = p.fresh_fields()
    p.headers(stream, literals(fields) + b"\x00\x06x-note\x80", END_BOTH)
    p.arrived(stream)


@case("rfc7541", "5.2", "every printable character in Huffman code", BOTH)
def all_huffman(p):
    text = "".join(map(chr, range(33, 127)))
    for part in (text[:40], text[40:80], text[80:]):
        packed = huffman(part)
        stream, fields = p.fresh_fields()
        p.headers(stream, literals(fields) + b"\x00\x06x-note" + bytes((0x80 | len(packed),)) + packed, END_BOTH)
        p.arrived(stream)


# --- TLS, RFC 9113 section 9.2 -----------------------------------------------------------------------------------------
def handshake(p, alpn=("h2",), version=None, ciphers=None):
    context = ssl.create_default_context(cafile=p.world.ca)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if version:
        context.maximum_version = version
        context.minimum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    with socket.create_connection(("127.0.0.1", p.world.ports[True]), timeout=10) as sock:
        with context.wrap_socket(sock, server_hostname="weir.test") as tls:
            return tls.selected_alpn_protocol(), tls.version(), tls.cipher()[0]


@case("rfc9113", "9.2", "ALPN chooses h2 among others", tls_only=True)
def alpn(p):
    if handshake(p, ("spdy/3", "h2"))[0] != "h2":
        raise Failed("not h2")


@case("rfc9113", "9.2", "TLS 1.3 and 1.2 are spoken", tls_only=True)
def versions(p):
    if handshake(p, version=ssl.TLSVersion.TLSv1_3)[1] != "TLSv1.3":
        raise Failed("not 1.3")
    if handshake(p, version=ssl.TLSVersion.TLSv1_2)[1] != "TLSv1.2":
        raise Failed("not 1.2")


def refused_handshake(text, **keywords):
    @case("rfc9113", "9.2", text, tls_only=True)
    def check(p):
        try:
            got = handshake(p, **keywords)
        except (ssl.SSLError, ConnectionError):
            return
        raise Failed(f"the handshake made {got}")
    return check


refused_handshake("TLS 1.1 is refused", version=ssl.TLSVersion.TLSv1_1, ciphers="ALL:@SECLEVEL=0")
refused_handshake("suites without a certificate are refused", version=ssl.TLSVersion.TLSv1_2,
                  ciphers="aNULL:@SECLEVEL=0")


@case("rfc9113", "9.2", "offered a suite on HTTP/2's prohibited list and one that is not, the server takes the latter",
      tls_only=True)
def preferred_suite(p):
    suite = handshake(p, version=ssl.TLSVersion.TLSv1_2,
                      ciphers="ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256")[2]
    if suite != "ECDHE-ECDSA-AES128-GCM-SHA256":
        raise Failed(suite)
