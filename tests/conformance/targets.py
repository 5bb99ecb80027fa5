"""Group client: what a target may and may not do to the balancer as an HTTP/2 client, beside the cases of the other
groups that hold in both directions. Sections are those of RFC 9113. An error of the target is one for its streams
alone: the client of each hears of it, the client's connection and its other streams go on.
"""
import struct

import h2wire as h2
from generic import END_BOTH
from world import (CLIENT, FLOW_CONTROL_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED, Failed, case, literals,
                   u32)


def with_options(**options):
    def mark(function):
        function.options = options
        return function
    return mark


def status_of(response):
    """What the honest client got: its HTTP status, or "reset"."""
    if any(f.type == h2.RST for f in response.frames):
        return "reset"
    return response.status


# --- 3.4, 6.5: the beginning of a connection --------------------------------------------------------------------
@case("client", "3.4", "the balancer's first frame is SETTINGS, with push off", CLIENT)
def push_is_off(p):
    first = p.seen[0]
    if first.type != h2.SETTINGS or p.settings.get(2) != 0:
        raise Failed(f"first frame {first}, settings {p.settings}")


@case("client", "3.4", "a target that does not begin with SETTINGS: PROTOCOL_ERROR, and its request fails", CLIENT)
@with_options(greet=False)
def no_settings(p):
    p.send(h2.PING, 0, 0, b"12345678")
    p.connection_error(PROTOCOL_ERROR)
    expect_failure(p)


@case("client", "3.4", "a target that answers in HTTP/1.1: the request fails", CLIENT)
@with_options(greet=False)
def http1(p):
    p.raw(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    while p.next() is not None:
        pass
    expect_failure(p)


def expect_failure(p, stream=None):
    """The client hears of an error: 502, or a gRPC status that is not OK, or a reset."""
    response = p.client_hears(stream)
    status = response.trailers.get("grpc-status", response.fields.get("grpc-status"))
    if status_of(response) == "200" and status in (None, "0"):
        raise Failed(f"the client took it for a success: {response.fields} {response.trailers}")


@case("client", "6.5.2", "ENABLE_PUSH of 1 from a server is PROTOCOL_ERROR", CLIENT)
def push_on(p):
    p.raw(h2.settings_bytes({2: 1}))
    p.connection_error(PROTOCOL_ERROR)
    expect_failure(p)


@case("client", "5.1.2", "the target's MAX_CONCURRENT_STREAMS holds for each connection", CLIENT)
@with_options(settings={3: 2})
def stream_limit(p):
    p.take(p.ask())
    third = p.ask()  # goes on a connection of its own
    other = p.world.accept()
    other.read_exactly(len(h2.PREFACE))
    other.send_raw(h2.settings_bytes({}))
    frames = other.wait_for(lambda f: f is None or f.type == h2.HEADERS)
    if frames[-1] is None:
        raise Failed("the third request did not come on another connection")
    if any(f.type == h2.HEADERS for f in p.ping()):
        raise Failed("a third stream on a connection for two")
    other.send_headers(frames[-1].stream, [(":status", "200")], end=True)
    if p.front.response(third).status != "200":
        raise Failed("no response")
    other.close()


@case("client", "6.5.2", "HEADER_TABLE_SIZE of 0 holds for the balancer's requests", CLIENT)
def no_table(p):
    p.raw(h2.settings_bytes({1: 0}))
    p.until(lambda f: f.type == h2.SETTINGS and f.flags & h2.ACK, "SETTINGS ACK")
    p.wire.decoder.max_allowed_table_size = 0
    for _ in range(3):
        stream = p.take(p.ask(end=True))
        p.headers(stream, p.block(p.head(grpc_status="0")), END_BOTH)
        p.arrived(stream)
    if p.wire.decoder.header_table_size != 0:
        raise Failed("no table size update came")


# --- 5.1: streams -------------------------------------------------------------------------------------------------
@case("client", "5.1", "HEADERS on a stream that was never opened are PROTOCOL_ERROR", CLIENT)
def idle_headers(p):
    p.headers(p.idle_id(), p.block(p.head()), END_BOTH)
    p.connection_error(PROTOCOL_ERROR)
    expect_failure(p)


@case("client", "5.1.1", "HEADERS on an even stream are PROTOCOL_ERROR: there is no push", CLIENT)
def even_headers(p):
    p.headers(2, p.block(p.head()), END_BOTH)
    p.connection_error(PROTOCOL_ERROR)
    expect_failure(p)


@case("client", "5.1", "DATA on an even stream is PROTOCOL_ERROR", CLIENT)
def even_data(p):
    p.send(h2.DATA, 0, 2, b"x")
    p.connection_error(PROTOCOL_ERROR)


@case("client", "5.1", "frames that cross a cancellation are ignored and their octets given back", CLIENT)
def crossing(p):
    stream = p.open()
    p.front.send(h2.RST, 0, p.front_streams[stream], u32(h2.CANCEL))
    frame = p.until(lambda f: f.type == h2.RST and f.stream == stream, "RST_STREAM")[-1]
    if struct.unpack(">I", frame.payload)[0] != h2.CANCEL:
        raise Failed("not CANCEL")
    for _ in range(300):  # more than four windows of 64 KiB, and more than one stream may hold
        p.send(h2.DATA, 0, stream, b"x" * 1000)
    p.headers(stream, p.block([("grpc-status", "0")]), END_BOTH)
    p.unharmed(stream)
    other = p.open()
    p.send(h2.DATA, h2.END_STREAM, other, b"fine")
    p.arrived(other, b"fine")


# --- 6: frames ----------------------------------------------------------------------------------------------------
@case("client", "6.1", "DATA beyond the stream's window is FLOW_CONTROL_ERROR", CLIENT)
def beyond_window(p):
    stream = p.open()
    # The client does not give credit, so the balancer cannot either.
    for _ in range(0, p.initial_window + 65535 + 3 * 16384, 16384):
        p.send(h2.DATA, 0, stream, b"x" * 16384)
    frame = p.until(lambda f: f.type == h2.GOAWAY or f.type == h2.RST and f.stream == stream, "an error")[-1]
    code = int.from_bytes(frame.payload[4:8] if frame.type == h2.GOAWAY else frame.payload, "big")
    if code != FLOW_CONTROL_ERROR:
        raise Failed(f"code {code}")


@case("client", "6.6", "PUSH_PROMISE is PROTOCOL_ERROR, and the request fails", CLIENT)
def push_promise(p):
    p.send(h2.PUSH, h2.END_HEADERS, p.stream, b"\0\0\0\2" + p.block([(":method", "GET"), (":scheme", "http"),
                                                                    (":authority", "a"), (":path", "/")]))
    p.connection_error(PROTOCOL_ERROR)
    expect_failure(p)


@case("client", "6.8", "requests above GOAWAY's last id are sent again on another connection", CLIENT)
def goaway_retry(p):
    later = p.ask(end=True)
    stream = p.until(lambda f: f.type == h2.HEADERS, "the second request")[-1].stream
    p.send(h2.GOAWAY, 0, 0, u32(stream - 2) + u32(0))
    other = p.world.accept()
    other.read_exactly(len(h2.PREFACE))
    other.send_raw(h2.settings_bytes({}))
    frame = other.wait_for(lambda f: f is None or f.type == h2.HEADERS)[-1]
    if frame is None:
        raise Failed("it was not sent again")
    other.send_headers(frame.stream, [(":status", "200")], end=True)
    if p.front.response(later).status != "200":
        raise Failed("no response")
    p.headers(p.stream, p.block(p.head(grpc_status="0")), END_BOTH)  # the first one is still served here
    p.arrived(p.stream)
    other.close()


@case("client", "6.8", "no new request goes on a connection that got GOAWAY", CLIENT)
def goaway_no_new(p):
    p.send(h2.GOAWAY, 0, 0, u32(0x7fffffff) + u32(0))
    p.ping()
    p.ask()
    other = p.world.accept()
    other.close()
    if any(f.type == h2.HEADERS for f in p.ping()):
        raise Failed("a new request came")


@case("client", "7", "REFUSED_STREAM: the request is sent again and the client hears nothing of it", CLIENT)
def refused(p):
    p.send(h2.RST, 0, p.stream, u32(REFUSED_STREAM))
    again = p.until(lambda f: f.type == h2.HEADERS, "the request again")[-1].stream
    p.front_streams[again] = p.first
    p.headers(again, p.block(p.head(grpc_status="0")), END_BOTH)
    p.arrived(again)


# --- 5.2, 6.9: what the balancer sends ---------------------------------------------------------------------------------
def body_at_target(p, stream, size):
    """Exactly `size` octets of the request's body come."""
    got = 0
    while got < size:
        got += len(p.until(lambda f: f.type == h2.DATA and f.stream == stream, "DATA")[-1].payload)
    got += sum(len(f.payload) for f in p.ping() if f.type == h2.DATA and f.stream == stream)
    if got != size:
        raise Failed(f"{got} octets in a window of {size}")


@case("client", "6.9.1", "the body of a request keeps to the stream's window", CLIENT)
@with_options(settings={4: 10})
def request_window(p):
    p.front.send(h2.DATA, h2.END_STREAM, p.first, b"y" * 100)
    body_at_target(p, p.stream, 10)
    p.send(h2.WINDOW, 0, p.stream, u32(25))
    body_at_target(p, p.stream, 25)
    p.raw(h2.settings_bytes({4: 20}))
    body_at_target(p, p.stream, 10)
    p.send(h2.WINDOW, 0, p.stream, u32(1000))
    body_at_target(p, p.stream, 55)


@case("client", "6.9.2", "a smaller INITIAL_WINDOW_SIZE in mid-body: the window becomes negative", CLIENT)
def request_window_negative(p):
    p.front.send(h2.DATA, 0, p.first, b"y" * 1000)
    body_at_target(p, p.stream, 1000)
    p.raw(h2.settings_bytes({4: 500}))
    p.ping()
    p.front.send(h2.DATA, h2.END_STREAM, p.first, b"y" * 100)
    body_at_target(p, p.stream, 0)
    p.send(h2.WINDOW, 0, p.stream, u32(510))
    body_at_target(p, p.stream, 10)
    p.send(h2.WINDOW, 0, p.stream, u32(1000))
    body_at_target(p, p.stream, 90)


@case("client", "6.9.1", "the bodies of all requests keep to the connection's window", CLIENT)
@with_options(settings={4: 1 << 20})
def request_connection_window(p):
    second = p.ask()
    stream = p.take(second)
    for at in range(6):
        p.front.send(h2.DATA, 0, p.first if at % 2 else second, b"y" * 10000)
    p.front.send(h2.DATA, 0, second, b"y" * 16384)
    got = 0
    while got < 65535:
        got += len(p.until(lambda f: f.type == h2.DATA, "DATA")[-1].payload)
    got += sum(len(f.payload) for f in p.ping() if f.type == h2.DATA)
    if got != 65535:
        raise Failed(f"{got} octets in a window of 65,535")
    p.send(h2.WINDOW, 0, 0, u32(100000))
    while got < 76384:
        got += len(p.until(lambda f: f.type == h2.DATA, "DATA")[-1].payload)
    p.unharmed(stream)


# --- 8: responses ---------------------------------------------------------------------------------------------------
def response_case(section, text, fields, end=True, data=(), then=None):
    """A response of these fields is an error of its stream; the client hears of a failure."""
    @case("client", section, text, CLIENT)
    def check(p):
        p.headers(p.stream, literals(fields), END_BOTH if end else h2.END_HEADERS)
        for at, payload in enumerate(data):
            last = at == len(data) - 1 and then is None
            p.send(h2.DATA, h2.END_STREAM if last else 0, p.stream, payload)
        if then:
            p.headers(p.stream, literals(then), END_BOTH)
        p.stream_error(p.stream, PROTOCOL_ERROR)
        expect_failure(p)
    return check


OK = [(":status", "200"), ("content-type", "application/grpc")]
response_case("8.3.2", "a response without :status is malformed", [("content-type", "application/grpc")])
response_case("8.3.2", ":status twice is malformed", [(":status", "200")] + OK)
response_case("8.3.2", ":status of two digits is malformed", [(":status", "20")])
response_case("8.3.2", ":status of letters is malformed", [(":status", "2x0")])
response_case("8.3.2", ":status of 099 is malformed", [(":status", "099")])
response_case("8.3", "a pseudo-header field of requests in a response is malformed", OK[:1] + [(":path", "/")])
response_case("8.3", "an unknown pseudo-header field is malformed", OK[:1] + [(":test", "1")])
response_case("8.3", ":status behind a regular field is malformed", OK[::-1])
response_case("8.2.1", "a field name in upper case is malformed", OK + [("X-Test", "1")])
response_case("8.2.1", "NUL in a value is malformed", OK + [("x-test", b"a\0b")])
response_case("8.2.1", "a line feed in a value is malformed", OK + [("x-test", b"a\nb")])
response_case("8.2.2", "connection is malformed", OK + [("connection", "close")])
response_case("8.2.2", "transfer-encoding is malformed", OK + [("transfer-encoding", "chunked")])
response_case("8.1.1", "content-length above the octets of DATA is malformed", OK + [("content-length", "9")],
              end=False, data=[b"test"])
response_case("8.1.1", "content-length below the octets of DATA is malformed", OK + [("content-length", "3")],
              end=False, data=[b"te", b"st"])
response_case("8.1.1", "content-length above the octets before trailers is malformed",
              OK + [("content-length", "9")], end=False, data=[b"test"], then=[("grpc-status", "0")])
response_case("8.1.1", "content-length without a body is malformed", OK + [("content-length", "9")])
response_case("8.1", "an informational response with END_STREAM is malformed", [(":status", "100")])
response_case("8.6", "101 is malformed in HTTP/2", [(":status", "101")], end=False)


@case("client", "8.1", "DATA before HEADERS is an error of the stream", CLIENT)
def data_first(p):
    p.send(h2.DATA, 0, p.stream, b"test")
    p.stream_error(p.stream, PROTOCOL_ERROR)
    expect_failure(p)


@case("client", "8.1", "informational responses before the final one are not passed on", CLIENT)
def informational(p):
    for status in ("100", "103", "199"):
        p.headers(p.stream, literals([(":status", status), ("link", "</x>")]))
    p.headers(p.stream, literals(OK + [("grpc-status", "0")]), END_BOTH)
    response = p.client_hears()
    if response.status != "200" or len(response.frames) != 1:
        raise Failed(f"{[f.headers for f in response.frames]}")


@case("client", "8.1", "frames behind the end of a response are an error of the stream at most", CLIENT)
def after_end(p):
    p.headers(p.stream, literals(OK + [("grpc-status", "0")]), END_BOTH)
    p.send(h2.DATA, 0, p.stream, b"late")
    p.arrived(p.stream)
    for frame in p.ping():
        if frame.type == h2.GOAWAY:
            raise Failed("the connection was ended")
        if frame.type == h2.RST and struct.unpack(">I", frame.payload)[0] not in (STREAM_CLOSED, h2.CANCEL, 0):
            raise Failed(f"{frame}")


@case("client", "8.1", "a response that ends early, then RST_STREAM NO_ERROR: the client gets it whole", CLIENT)
def early_end(p):
    p.headers(p.stream, literals(OK))
    p.send(h2.DATA, 0, p.stream, b"early")
    p.headers(p.stream, literals([("grpc-status", "5")]), END_BOTH)
    p.send(h2.RST, 0, p.stream, u32(0))
    response = p.client_hears()
    if response.body != b"early" or response.trailers.get("grpc-status") != "5":
        raise Failed(f"{response.body} {response.trailers}")


@case("client", "8.1.1", "a response to HEAD announces a length and has no body", CLIENT)
def head_response(p):
    front = p.ask(end=True, fields=p.front.request("/any", "HEAD"))
    stream = p.take(front)
    p.headers(stream, literals([(":status", "200"), ("content-length", "1000")]), END_BOTH)
    response = p.client_hears(stream)
    if (response.status, response.fields.get("content-length")) != ("200", "1000"):
        raise Failed(f"{response.fields}")


@case("client", "8.1.1", "204 and 304 may announce a length without a body", CLIENT)
def bodiless(p):
    for status in ("204", "304"):
        stream = p.new_request()
        p.headers(stream, literals([(":status", status), ("content-length", "10")]), END_BOTH)
        if p.client_hears(stream).status != status:
            raise Failed("not passed on")


@case("client", "5.4", "an error of the connection fails all its requests; the next ones go elsewhere", CLIENT)
def connection_error_is_contained(p):
    second = p.take(p.ask())
    p.send(h2.PING, 0, 0, b"short")
    p.connection_error(6)
    expect_failure(p)
    expect_failure(p, second)
    third = p.ask(end=True)
    other = p.world.accept()
    other.read_exactly(len(h2.PREFACE))
    other.send_raw(h2.settings_bytes({}))
    frame = other.wait_for(lambda f: f is None or f.type == h2.HEADERS)[-1]
    other.send_headers(frame.stream, [(":status", "200")], end=True)
    if p.front.response(third).status != "200":
        raise Failed("the request after the error failed")
    other.close()


@case("client", "5.4.2", "an error of a stream harms no other stream of the connection", CLIENT)
def stream_error_is_contained(p):
    second = p.open() if p.used_first else None
    first, second = p.open(), second or p.take(p.ask())
    p.headers(second, p.block(p.head()))
    p.headers(first, literals([("x-again", "1")]))
    p.stream_error(first, PROTOCOL_ERROR)
    p.send(h2.DATA, h2.END_STREAM, second, b"fine")
    p.arrived(second, b"fine")


@case("client", "8.2", "what the balancer sends is well-formed: one of each pseudo-header field, in front", CLIENT)
def well_formed(p):
    names = list(p.request_fields)
    if sorted(names[:4]) != [":authority", ":method", ":path", ":scheme"] or any(n != n.lower() for n in names):
        raise Failed(f"{names}")
    if any(n.startswith(":") for n in names[4:]) or any(n in names for n in ("connection", "upgrade", "keep-alive")):
        raise Failed(f"{names}")
