"""Generates and imports the Python stubs of interop.proto (Debian: python3-grpc-tools)."""
import os
import sys
import tempfile

from grpc_tools import protoc

FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def load():
    """(messages, services)"""
    with tempfile.TemporaryDirectory(prefix="weir_interop_") as out:
        command = ["protoc", f"-I{FOLDER}", f"--python_out={out}", f"--grpc_python_out={out}", "interop.proto"]
        if protoc.main(command) != 0:
            raise RuntimeError("protoc failed")
        sys.path.insert(0, out)
        import interop_pb2
        import interop_pb2_grpc
        sys.path.remove(out)
    return interop_pb2, interop_pb2_grpc


def body_of(size):
    cycle = bytes((i * 7 + size) & 255 for i in range(256))
    return (cycle * (size // 256 + 1))[:size]
