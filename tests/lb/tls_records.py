"""A TLS client that writes its records itself, so that it can send what no library sends: KeyUpdate by the thousand,
ClientHello in the middle of a TLS 1.2 connection. RFC 8446 §5 and §7, RFC 5246 §6, RFC 5288.

Debian: python3-cryptography.
"""
import hashlib
import hmac
import socket
import ssl
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HANDSHAKE, APPLICATION_DATA = 22, 23
CLIENT_HELLO, KEY_UPDATE = 1, 24


def handshake_message(kind, body):
    return struct.pack(">I", kind << 24 | len(body)) + body


def expand(secret, info, size, digest):
    """HKDF-Expand (RFC 5869), one block."""
    return hmac.new(secret, info + b"\1", digest).digest()[:size]


def expand_label(secret, label, size, digest):
    name = b"tls13 " + label
    return expand(secret, struct.pack(">HB", size, len(name)) + name + b"\0", size, digest)


def prf(secret, seed, size):
    """P_SHA256 (RFC 5246 §5)."""
    out, a = b"", seed
    while len(out) < size:
        a = hmac.new(secret, a, hashlib.sha256).digest()
        out += hmac.new(secret, a + seed, hashlib.sha256).digest()
    return out[:size]


class RecordClient:
    """Python's ssl shakes hands and reads; what is written from then on is made here."""

    def __init__(self, port, ca, keylog, version):
        """keylog: a file for the connection's secrets; an own one for each client."""
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = context.maximum_version = version
        context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        context.set_alpn_protocols(["h2"])
        context.keylog_filename = keylog
        self.incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, outgoing, server_hostname="weir.test")
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        hello = b""
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.sock.sendall(outgoing.read())
                data = self.sock.recv(1 << 16)
                if not data:
                    raise ConnectionError("closed in the handshake") from None
                hello += data
                self.incoming.write(data)
        self.sock.sendall(outgoing.read())
        with open(keylog, encoding="ascii") as file:
            secrets = [line.split() for line in file if not line.startswith("#")]
        self.modern = version == ssl.TLSVersion.TLSv1_3
        self.sequence = 0
        if self.modern:
            self.digest = hashlib.sha384 if "384" in self.tls.cipher()[0] else hashlib.sha256
            self.set_secret(next(bytes.fromhex(s) for label, _, s in secrets if label == "CLIENT_TRAFFIC_SECRET_0"))
        else:
            _, client_random, master = next(s for s in secrets if s[0] == "CLIENT_RANDOM")
            server_random = hello[11:43]  # behind the heads of the record and the message, and the version
            block = prf(bytes.fromhex(master), b"key expansion" + server_random + bytes.fromhex(client_random), 40)
            self.key, self.iv = AESGCM(block[:16]), block[32:36]
            self.sequence = 1  # Finished was the first under this key

    def set_secret(self, secret):
        size = 32 if self.digest is hashlib.sha384 else 16
        self.secret, self.sequence = secret, 0
        self.key = AESGCM(expand_label(secret, b"key", size, self.digest))
        self.iv = expand_label(secret, b"iv", 12, self.digest)

    def record(self, kind, content):
        """One sealed record of at most 16 KiB."""
        number = struct.pack(">Q", self.sequence)
        self.sequence += 1
        if self.modern:
            nonce = bytes(a ^ b for a, b in zip(self.iv, b"\0\0\0\0" + number))
            head = struct.pack(">BHH", APPLICATION_DATA, 0x0303, len(content) + 17)
            return head + self.key.encrypt(nonce, content + bytes((kind,)), head)
        sealed = self.key.encrypt(self.iv + number, content, number + struct.pack(">BHH", kind, 0x0303, len(content)))
        return struct.pack(">BHH", kind, 0x0303, len(sealed) + 8) + number + sealed

    def key_update(self, wants_answer):
        """A KeyUpdate; what follows is sealed with the next keys."""
        out = self.record(HANDSHAKE, handshake_message(KEY_UPDATE, bytes((wants_answer,))))
        self.set_secret(expand_label(self.secret, b"traffic upd", self.digest().digest_size, self.digest))
        return out

    def data(self, content):
        return self.record(APPLICATION_DATA, content)

    def client_hello(self):
        return self.record(HANDSHAKE, handshake_message(CLIENT_HELLO, b"\3\3" + bytes(32) + b"\0\0\2\xc0\x2b\1\0"))

    # --- as h2wire.Wire wants a socket ----------------------------------------------------------------------
    def settimeout(self, seconds):
        self.sock.settimeout(seconds)

    def sendall(self, content):
        for at in range(0, len(content), 16384):
            self.sock.sendall(self.data(content[at:at + 16384]))

    def recv(self, size):
        while True:
            try:
                return self.tls.read(size)
            except ssl.SSLWantReadError:
                data = self.sock.recv(1 << 16)
                if not data:
                    return b""
                self.incoming.write(data)
            except ssl.SSLZeroReturnError:
                return b""

    def close(self):
        self.sock.close()
