"""What tests of logs, metrics and live views share: a real gRPC server of this process, and a GET."""
import concurrent.futures
import socket
import threading

import grpc


class EchoServer:
    """/test.Echo/Call echoes; /test.Echo/Fail ends with NOT_FOUND; /test.Echo/Many answers with as many messages as the
    request says; /test.Echo/Chat echoes a stream; /test.Echo/Hold answers once `release` is set."""

    def __init__(self, test):
        self.release = threading.Event()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(32))
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", {
            "Call": grpc.unary_unary_rpc_method_handler(lambda request, _: request),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Many": grpc.unary_stream_rpc_method_handler(lambda request, _: (b"x" * 10 for _ in range(int(request)))),
            "Chat": grpc.stream_stream_rpc_method_handler(lambda requests, _: requests),
            "Hold": grpc.unary_unary_rpc_method_handler(self.hold),
        })])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        test.addCleanup(self.stop)

    def stop(self):
        self.release.set()
        self.server.stop(0).wait()

    @staticmethod
    def fail(_, context):
        context.abort(grpc.StatusCode.NOT_FOUND, "nothing here")

    def hold(self, request, _):
        self.release.wait(60)
        return request


def http_get(port, path, method="GET"):
    """Status and body of one request by hand; ends when the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = b""
        while data := sock.recv(1 << 16):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()
