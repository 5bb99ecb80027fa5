"""Group http2, sections 3 to 7: connection, streams, frames. The section numbers are those of RFC 7540."""
import h2wire as h2
from generic import END_BOTH, PRIORITY_FLAG, echo_head
from world import (BOTH, COMPRESSION_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR, REFUSED_STREAM,
                   STREAM_CLOSED, Failed, case, u32)

PUSH = h2.PUSH


@case("http2", "3.5", "the server's preface is a SETTINGS frame, the client's is the fixed text and SETTINGS", BOTH)
def preface(p):
    first = p.seen[0]
    if first.type != h2.SETTINGS or first.flags & h2.ACK or first.stream != 0 or len(first.payload) % 6:
        raise Failed(f"the first frame is {first}")


@case("http2", "3.5", "a preface that is something else ends the connection")
def wrong_preface(p):
    q = p.sibling(greet=False)
    q.raw(b"INVALID CONNECTION PREFACE\r\n\r\n")
    q.connection_error(PROTOCOL_ERROR)


@case("http2", "4.1", "a frame of unknown type is ignored", BOTH)
def unknown_type(p):
    p.send(0x16, 0, 0, b"12345678")
    p.unharmed()


@case("http2", "4.1", "flags without meaning are ignored", BOTH)
def unknown_flags(p):
    p.send(h2.PING, 0x16, 0, b"12345678")
    p.until(lambda f: f.type == h2.PING and f.flags == h2.ACK, "PING ACK")


@case("http2", "4.1", "the reserved bit of the stream id is ignored", BOTH)
def reserved_bit(p):
    p.send(h2.PING, 0, 0x80000000, b"12345678")
    p.until(lambda f: f.type == h2.PING and f.flags == h2.ACK and f.stream == 0, "PING ACK")


@case("http2", "4.2", "DATA of 16,384 octets is taken", BOTH)
def largest_data(p):
    stream = echo_head(p)
    p.send(h2.DATA, h2.END_STREAM, stream, b"x" * 16384)
    p.arrived(stream, b"x" * 16384)


@case("http2", "4.2", "DATA of 16,385 octets is FRAME_SIZE_ERROR", BOTH)
def too_large_data(p):
    stream = p.open()
    p.send(h2.DATA, h2.END_STREAM, stream, b"x" * 16385)
    p.connection_error(FRAME_SIZE_ERROR)


@case("http2", "4.2", "HEADERS of more than 16,384 octets are FRAME_SIZE_ERROR", BOTH)
def too_large_headers(p):
    stream, block = p.fresh()
    p.headers(stream, block + b"\0" * 16384, END_BOTH)
    p.connection_error(FRAME_SIZE_ERROR)


@case("http2", "4.3", "a header block that does not decode is COMPRESSION_ERROR", BOTH)
def invalid_block(p):
    stream, block = p.fresh()
    p.headers(stream, block + b"\x40\xff", END_BOTH)
    p.connection_error(COMPRESSION_ERROR)


@case("http2", "4.3", "PRIORITY within a header block is PROTOCOL_ERROR", BOTH)
def priority_within(p):
    stream, block = p.fresh()
    p.headers(stream, block[:4], 0)
    p.send(h2.PRIORITY, 0, stream, u32(0) + b"\xff")
    p.send(h2.CONTINUATION, h2.END_HEADERS, stream, block[4:])
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "4.3", "HEADERS of another stream within a header block are PROTOCOL_ERROR", BOTH)
def other_headers_within(p):
    stream, block = p.fresh()
    p.headers(stream, block[:4], 0)
    p.headers(stream + 2, block)
    p.connection_error(PROTOCOL_ERROR)


# --- 5.1 stream states ---------------------------------------------------------------------------------------
@case("http2", "5.1", "idle: DATA is PROTOCOL_ERROR", BOTH)
def idle_data(p):
    p.send(h2.DATA, h2.END_STREAM, p.idle_id(), b"test")
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "5.1", "idle: RST_STREAM is PROTOCOL_ERROR", BOTH)
def idle_reset(p):
    p.send(h2.RST, 0, p.idle_id(), u32(h2.CANCEL))
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "5.1", "idle: WINDOW_UPDATE is PROTOCOL_ERROR", BOTH)
def idle_window(p):
    p.send(h2.WINDOW, 0, p.idle_id(), u32(100))
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "5.1", "idle: CONTINUATION is PROTOCOL_ERROR", BOTH)
def idle_continuation(p):
    p.send(h2.CONTINUATION, h2.END_HEADERS, p.idle_id(), b"\x82")
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "5.1", "half-closed by the sender: DATA is STREAM_CLOSED")
def half_closed_data(p):
    stream = p.half_closed()
    p.send(h2.DATA, h2.END_STREAM, stream, b"test")
    p.stream_error(stream, STREAM_CLOSED)


@case("http2", "5.1", "half-closed by the sender: HEADERS are STREAM_CLOSED")
def half_closed_headers(p):
    stream = p.half_closed()
    p.headers(stream, p.block(p.request()), END_BOTH)
    p.stream_error(stream, STREAM_CLOSED)


@case("http2", "5.1", "half-closed by the sender: CONTINUATION ends the connection")
def half_closed_continuation(p):
    stream = p.half_closed()
    p.send(h2.CONTINUATION, h2.END_HEADERS, stream, p.block(p.request()))
    p.connection_error(PROTOCOL_ERROR, STREAM_CLOSED)


def reset_stream(p):
    stream = p.open()
    p.send(h2.RST, 0, stream, u32(h2.CANCEL))
    return stream


@case("http2", "5.1", "closed by its RST_STREAM: DATA is STREAM_CLOSED", BOTH)
def reset_data(p):
    stream = reset_stream(p)
    p.send(h2.DATA, h2.END_STREAM, stream, b"test")
    p.stream_error(stream, STREAM_CLOSED)


@case("http2", "5.1", "closed by its RST_STREAM: HEADERS are STREAM_CLOSED", BOTH)
def reset_headers(p):
    stream = reset_stream(p)
    p.headers(stream, p.block([("x-late", "1")]), END_BOTH)
    closed_somehow(p, stream)


def closed_somehow(p, stream):
    """RFC 9113 §5.1 leaves the choice between an error of the stream and one of the connection."""
    frame = p.until(lambda f: f.type == h2.GOAWAY or f.type == h2.RST and f.stream == stream, "STREAM_CLOSED")[-1]
    code = int.from_bytes(frame.payload[4:8] if frame.type == h2.GOAWAY else frame.payload, "big")
    if code != STREAM_CLOSED:
        raise Failed(f"code {code}")


@case("http2", "5.1", "closed by its RST_STREAM: CONTINUATION ends the connection", BOTH)
def reset_continuation(p):
    stream = reset_stream(p)
    p.send(h2.CONTINUATION, h2.END_HEADERS, stream, b"\x82")
    p.connection_error(PROTOCOL_ERROR, STREAM_CLOSED)


@case("http2", "5.1", "closed by END_STREAM: DATA is STREAM_CLOSED", BOTH)
def closed_data(p):
    stream = p.finished()
    p.send(h2.DATA, h2.END_STREAM, stream, b"test")
    p.stream_error(stream, STREAM_CLOSED)


@case("http2", "5.1", "closed by END_STREAM: HEADERS are STREAM_CLOSED", BOTH)
def closed_headers(p):
    stream = p.finished()
    p.headers(stream, p.block([("x-late", "1")]), END_BOTH)
    closed_somehow(p, stream)


@case("http2", "5.1", "closed by END_STREAM: CONTINUATION ends the connection", BOTH)
def closed_continuation(p):
    stream = p.finished()
    p.send(h2.CONTINUATION, h2.END_HEADERS, stream, b"\x82")
    p.connection_error(PROTOCOL_ERROR, STREAM_CLOSED)


@case("http2", "5.1.1", "a client's stream with an even id is PROTOCOL_ERROR")
def even_id(p):
    p.headers(100, p.block(p.request()), END_BOTH)
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "5.1.1", "an id below one that was used is an error of the connection")
def lower_id(p):
    p.next_id = 5
    p.open()
    p.headers(3, p.block(p.request()), END_BOTH)
    p.connection_error(PROTOCOL_ERROR, STREAM_CLOSED)


@case("http2", "5.1.2", "a stream above the announced maximum is refused, the others go on")
def too_many_streams(p):
    maximum = p.settings.get(3)
    if maximum is None:
        raise Failed("no SETTINGS_MAX_CONCURRENT_STREAMS")
    streams = [p.open() for _ in range(maximum + 1)]
    p.stream_error(streams[-1], REFUSED_STREAM, PROTOCOL_ERROR)
    p.unharmed(*streams[:-1])


@case("http2", "5.3.1", "HEADERS whose stream depends on itself are PROTOCOL_ERROR", BOTH)
def headers_self(p):
    stream, block = p.fresh()
    p.headers(stream, u32(stream) + b"\xff" + block, END_BOTH | PRIORITY_FLAG)
    error_somehow(p, stream, PROTOCOL_ERROR)


@case("http2", "5.3.1", "PRIORITY whose stream depends on itself is PROTOCOL_ERROR", BOTH)
def priority_self(p):
    stream = p.open()
    p.send(h2.PRIORITY, 0, stream, u32(stream) + b"\xff")
    error_somehow(p, stream, PROTOCOL_ERROR)


def error_somehow(p, stream, *codes):
    frame = p.until(lambda f: f.type == h2.GOAWAY or f.type == h2.RST and f.stream == stream, "an error")[-1]
    code = int.from_bytes(frame.payload[4:8] if frame.type == h2.GOAWAY else frame.payload, "big")
    if code not in codes:
        raise Failed(f"code {code}")


@case("http2", "5.4.1", "an error of the connection: GOAWAY, then the end", BOTH)
def error_closes(p):
    p.send(h2.PING, 0, 0, b"\0" * 6)
    p.connection_error(FRAME_SIZE_ERROR)


@case("http2", "5.4.1", "GOAWAY of an error names the last stream that was taken", BOTH)
def error_names_last(p):
    stream = p.open()
    p.ping()
    p.send(h2.PING, 0, 0, b"\0" * 6)
    frame = p.until(lambda f: f.type == h2.GOAWAY, "GOAWAY")[-1]
    last = int.from_bytes(frame.payload[:4], "big")
    if last != (stream if p.role == "server" else 0):
        raise Failed(f"last stream id {last}")


@case("http2", "5.5", "an extension frame of unknown type is ignored on a stream", BOTH)
def extension(p):
    stream = echo_head(p)
    p.send(0x20, 0xff, stream, b"extension")
    p.send(h2.DATA, h2.END_STREAM, stream, b"x")
    p.arrived(stream, b"x")


@case("http2", "5.5", "an extension frame within a header block is PROTOCOL_ERROR", BOTH)
def extension_within(p):
    stream, block = p.fresh()
    p.headers(stream, block[:4], h2.END_STREAM)
    p.send(0x20, 0, 0, b"extension")
    p.send(h2.CONTINUATION, h2.END_HEADERS, stream, block[4:])
    p.connection_error(PROTOCOL_ERROR)


# --- 6 frames --------------------------------------------------------------------------------------------------
@case("http2", "6.1", "DATA on stream 0 is PROTOCOL_ERROR", BOTH)
def data_zero(p):
    p.send(h2.DATA, h2.END_STREAM, 0, b"test")
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.1", "DATA on a stream whose sender has ended is STREAM_CLOSED")
def data_after_end(p):
    stream = p.half_closed()
    p.send(h2.DATA, 0, stream, b"test")
    p.stream_error(stream, STREAM_CLOSED)


@case("http2", "6.1", "DATA with padding as long as the frame is PROTOCOL_ERROR", BOTH)
def data_padding(p):
    stream = p.open()
    p.send(h2.DATA, h2.END_STREAM | h2.PADDED, stream, b"\x05test")
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.2", "HEADERS without END_HEADERS, then PRIORITY: PROTOCOL_ERROR", BOTH)
def headers_then_priority(p):
    stream, block = p.fresh()
    p.headers(stream, block, 0)
    p.send(h2.PRIORITY, 0, stream, u32(0) + b"\xff")
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.2", "HEADERS without END_HEADERS, then HEADERS of another stream: PROTOCOL_ERROR", BOTH)
def headers_then_headers(p):
    stream, block = p.fresh()
    p.headers(stream, block, 0)
    p.headers(stream + 2, block, END_BOTH)
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.2", "HEADERS on stream 0 are PROTOCOL_ERROR", BOTH)
def headers_zero(p):
    _, block = p.fresh()
    p.headers(0, block, END_BOTH)
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.2", "HEADERS with padding longer than the frame are PROTOCOL_ERROR", BOTH)
def headers_padding(p):
    stream, block = p.fresh()
    p.headers(stream, bytes((len(block) + 1,)) + block, END_BOTH | h2.PADDED)
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.3", "PRIORITY on stream 0 is PROTOCOL_ERROR", BOTH)
def priority_zero(p):
    p.send(h2.PRIORITY, 0, 0, u32(0) + b"\xff")
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.3", "PRIORITY of other than 5 octets is FRAME_SIZE_ERROR of the stream", BOTH)
def priority_length(p):
    stream = p.open()
    p.send(h2.PRIORITY, 0, stream, u32(0))
    p.stream_error(stream, FRAME_SIZE_ERROR)


@case("http2", "6.4", "RST_STREAM on stream 0 is PROTOCOL_ERROR", BOTH)
def reset_zero(p):
    p.send(h2.RST, 0, 0, u32(h2.CANCEL))
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.4", "RST_STREAM on an idle stream is PROTOCOL_ERROR", BOTH)
def reset_idle(p):
    p.send(h2.RST, 0, p.idle_id(), u32(h2.CANCEL))
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.4", "RST_STREAM of other than 4 octets is FRAME_SIZE_ERROR", BOTH)
def reset_length(p):
    stream = p.open()
    p.send(h2.RST, 0, stream, b"\0\0\0")
    p.connection_error(FRAME_SIZE_ERROR)


@case("http2", "6.5", "SETTINGS with ACK and a payload are FRAME_SIZE_ERROR", BOTH)
def settings_ack_payload(p):
    p.send(h2.SETTINGS, h2.ACK, 0, b"\0\3\0\0\0\1")
    p.connection_error(FRAME_SIZE_ERROR)


@case("http2", "6.5", "SETTINGS on a stream are PROTOCOL_ERROR", BOTH)
def settings_stream(p):
    p.send(h2.SETTINGS, 0, p.open(), b"\0\3\0\0\0\1")
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.5", "SETTINGS of a length that six does not divide are FRAME_SIZE_ERROR", BOTH)
def settings_length(p):
    p.send(h2.SETTINGS, 0, 0, b"\0\3\0")
    p.connection_error(FRAME_SIZE_ERROR)


def setting_case(text, key, value, *codes):
    @case("http2", "6.5.2", text, BOTH)
    def check(p):
        p.raw(h2.settings_bytes({key: value}))
        p.connection_error(*codes)
    return check


setting_case("ENABLE_PUSH of 2 is PROTOCOL_ERROR", 2, 2, PROTOCOL_ERROR)
setting_case("INITIAL_WINDOW_SIZE of 2^31 is FLOW_CONTROL_ERROR", 4, 1 << 31, FLOW_CONTROL_ERROR)
setting_case("MAX_FRAME_SIZE of 16,383 is PROTOCOL_ERROR", 5, 16383, PROTOCOL_ERROR)
setting_case("MAX_FRAME_SIZE of 2^24 is PROTOCOL_ERROR", 5, 1 << 24, PROTOCOL_ERROR)


@case("http2", "6.5.2", "a setting with unknown identifier is ignored", BOTH)
def unknown_setting(p):
    p.raw(h2.settings_bytes({0xff: 1}))
    p.unharmed()


@case("http2", "6.5.3", "the last of several values of one setting holds")
def repeated_setting(p):
    pairs = ((4, 100), (4, 1))
    p.send(h2.SETTINGS, 0, 0, b"".join(k.to_bytes(2, "big") + u32(v) for k, v in pairs))
    stream = p.new_id()
    p.headers(stream, p.block(p.request("/size/10", "GET")), END_BOTH)
    frame = p.until(lambda f: f.type == h2.DATA and f.payload, "DATA")[-1]
    if len(frame.payload) != 1:
        raise Failed(f"{len(frame.payload)} octets instead of 1")


@case("http2", "6.5.3", "each SETTINGS frame is acknowledged", BOTH)
def settings_acknowledged(p):
    for _ in range(3):
        p.raw(h2.settings_bytes({4: 65535}))
    for _ in range(3):
        p.until(lambda f: f.type == h2.SETTINGS and f.flags & h2.ACK, "SETTINGS ACK")


@case("http2", "6.7", "PING is answered with its payload", BOTH)
def ping(p):
    p.ping()


@case("http2", "6.7", "PING with ACK is not answered", BOTH)
def ping_ack(p):
    p.send(h2.PING, h2.ACK, 0, b"not this")
    if any(f.type == h2.PING and f.payload == b"not this" for f in p.ping()):
        raise Failed("answered")


@case("http2", "6.7", "PING on a stream is PROTOCOL_ERROR", BOTH)
def ping_stream(p):
    p.send(h2.PING, 0, p.open(), b"12345678")
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.7", "PING of other than 8 octets is FRAME_SIZE_ERROR", BOTH)
def ping_length(p):
    p.send(h2.PING, 0, 0, b"123456")
    p.connection_error(FRAME_SIZE_ERROR)


@case("http2", "6.8", "GOAWAY on a stream is PROTOCOL_ERROR", BOTH)
def goaway_stream(p):
    p.send(h2.GOAWAY, 0, p.open(), u32(0) + u32(0))
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.9", "WINDOW_UPDATE of 0 on the connection is PROTOCOL_ERROR", BOTH)
def window_zero(p):
    p.send(h2.WINDOW, 0, 0, u32(0))
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.9", "WINDOW_UPDATE of 0 on a stream is PROTOCOL_ERROR of the stream", BOTH)
def window_zero_stream(p):
    stream = p.open()
    p.send(h2.WINDOW, 0, stream, u32(0))
    p.stream_error(stream, PROTOCOL_ERROR)


@case("http2", "6.9", "WINDOW_UPDATE of other than 4 octets is FRAME_SIZE_ERROR", BOTH)
def window_length(p):
    p.send(h2.WINDOW, 0, 0, b"\0\0\1")
    p.connection_error(FRAME_SIZE_ERROR)


@case("http2", "6.9.1", "a window of 1 octet lets one octet pass")
def window_one(p):
    p.raw(h2.settings_bytes({4: 1}))
    stream = p.new_id()
    p.headers(stream, p.block(p.request("/size/10", "GET")), END_BOTH)
    data_within(p, stream, 1)


def data_within(p, stream, size):
    """Exactly `size` octets come; a PING behind them shows that no more do."""
    got = 0
    while got < size:
        frame = p.until(lambda f: f.type == h2.DATA and f.stream == stream, "DATA")[-1]
        got += len(frame.payload)
    for frame in p.ping():
        if frame.type == h2.DATA and frame.stream == stream:
            got += len(frame.payload)
    if got != size:
        raise Failed(f"{got} octets in a window of {size}")


@case("http2", "6.9.1", "the connection's window over 2^31-1 is FLOW_CONTROL_ERROR", BOTH)
def window_overflow(p):
    p.send(h2.WINDOW, 0, 0, u32(0x7fffffff))
    p.send(h2.WINDOW, 0, 0, u32(0x7fffffff))
    p.connection_error(FLOW_CONTROL_ERROR)


@case("http2", "6.9.1", "a stream's window over 2^31-1 is FLOW_CONTROL_ERROR of the stream", BOTH)
def window_overflow_stream(p):
    stream = p.open()
    p.send(h2.WINDOW, 0, stream, u32(0x7fffffff))
    p.send(h2.WINDOW, 0, stream, u32(0x7fffffff))
    p.stream_error(stream, FLOW_CONTROL_ERROR)


@case("http2", "6.9.2", "a changed INITIAL_WINDOW_SIZE holds for streams that are open")
def window_changed(p):
    p.raw(h2.settings_bytes({4: 0}))
    stream = p.new_id()
    p.headers(stream, p.block(p.request("/size/10", "GET")), END_BOTH)
    data_within(p, stream, 0)
    p.raw(h2.settings_bytes({4: 1}))
    data_within(p, stream, 1)


@case("http2", "6.9.2", "a window may become negative: nothing comes until it is positive again")
def window_negative(p):
    p.raw(h2.settings_bytes({4: 3}))
    stream = p.new_id()
    p.headers(stream, p.block(p.request("/size/10", "GET")), END_BOTH)
    data_within(p, stream, 3)
    p.raw(h2.settings_bytes({4: 2}))
    data_within(p, stream, 0)
    p.send(h2.WINDOW, 0, stream, u32(2))
    data_within(p, stream, 1)


@case("http2", "6.9.2", "INITIAL_WINDOW_SIZE that takes an open stream's window over 2^31-1: FLOW_CONTROL_ERROR", BOTH)
def window_setting_overflow(p):
    stream = p.open()
    p.send(h2.WINDOW, 0, stream, u32(10))
    p.raw(h2.settings_bytes({4: 0x7fffffff}))
    p.connection_error(FLOW_CONTROL_ERROR)


@case("http2", "6.10", "several CONTINUATION frames make one block", BOTH)
def continuations(p):
    stream, block = p.fresh(x_note="n" * 60)
    p.headers(stream, block[:10], h2.END_STREAM)
    p.send(h2.CONTINUATION, 0, stream, block[10:20])
    p.send(h2.CONTINUATION, h2.END_HEADERS, stream, block[20:])
    p.arrived(stream)


@case("http2", "6.10", "CONTINUATION, then another frame before END_HEADERS: PROTOCOL_ERROR", BOTH)
def continuation_then_data(p):
    stream, block = p.fresh()
    p.headers(stream, block[:4], 0)
    p.send(h2.CONTINUATION, 0, stream, block[4:])
    p.send(h2.DATA, h2.END_STREAM, stream, b"test")
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.10", "CONTINUATION on stream 0 is PROTOCOL_ERROR", BOTH)
def continuation_zero(p):
    stream, block = p.fresh()
    p.headers(stream, block[:4], 0)
    p.send(h2.CONTINUATION, h2.END_HEADERS, 0, block[4:])
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.10", "CONTINUATION behind HEADERS with END_HEADERS is PROTOCOL_ERROR", BOTH)
def continuation_after_headers(p):
    stream, block = p.fresh()
    p.headers(stream, block)
    p.send(h2.CONTINUATION, h2.END_HEADERS, stream, b"\x90")
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.10", "CONTINUATION behind CONTINUATION with END_HEADERS is PROTOCOL_ERROR", BOTH)
def continuation_after_continuation(p):
    stream, block = p.fresh()
    p.headers(stream, block[:4], 0)
    p.send(h2.CONTINUATION, h2.END_HEADERS, stream, block[4:])
    p.send(h2.CONTINUATION, h2.END_HEADERS, stream, b"\x90")
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "6.10", "CONTINUATION behind DATA is PROTOCOL_ERROR", BOTH)
def continuation_after_data(p):
    stream, block = p.fresh()
    p.headers(stream, block)
    p.send(h2.DATA, 0, stream, b"test")
    p.send(h2.CONTINUATION, h2.END_HEADERS, stream, b"\x90")
    p.connection_error(PROTOCOL_ERROR)


@case("http2", "7", "GOAWAY with an unknown error code is taken", BOTH)
def unknown_goaway(p):
    p.send(h2.GOAWAY, 0, 0, u32(0 if p.role == "server" else 0x7fffffff) + u32(0xff))
    p.ping()


@case("http2", "7", "RST_STREAM with an unknown error code is taken", BOTH)
def unknown_reset(p):
    stream = p.open()
    p.send(h2.RST, 0, stream, u32(0xff))
    p.unharmed(stream)
