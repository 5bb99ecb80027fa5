"""Clients that play with TLS once the handshake is done (docs/defences.md)."""
import ssl
import unittest

import h2wire
from attack import AttackCase, wait_closed
from h2wire import CALM, PREFACE, settings_bytes
from tls_records import RecordClient

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class AfterTheHandshake(AttackCase):
    def setUp(self):
        super().setUp()
        self.launch()
        self.clients = 0

    def client(self, version):
        """(what makes records, the HTTP/2 connection over it)"""
        self.clients += 1
        records = RecordClient(self.port, self.ca, f"{self.folder.name}/{self.id()[-40:]}{self.clients}", version)
        wire = h2wire.Wire(records)
        self.addCleanup(wire.close)
        wire.send_raw(PREFACE + settings_bytes({}))
        return records, wire

    def pour_records(self, records, make, times, many=2000):
        """What make() gives, so many times, as long as it is taken."""
        records.settimeout(5)
        try:
            for _ in range(0, times, many):
                records.sock.sendall(b"".join(make() for _ in range(many)))
        except OSError:
            pass

    def test_key_updates(self):
        def act():
            for wants_answer in (True, False):
                records, wire = self.client(V13)
                self.pour_records(records, lambda r=records, w=wants_answer: r.key_update(w), 20000)
                self.assertEqual(self.end_of(wire), CALM)
        self.attack(act, 4000, {"client/tls_message_flood": 2})

    def test_key_updates_that_trickle_past_the_rate(self):
        def act():
            records, wire = self.client(V13)
            for stream in range(1, 201, 2):
                self.pour_records(records, lambda: records.key_update(True), 1, 1)
                try:
                    wire.send_headers(stream, h2wire.request_fields(), end=True)
                except OSError:
                    break
            self.assertEqual(self.end_of(wire), CALM)
        self.attack(act, 1000, {"client/tls_message_flood": 1})

    def test_a_client_that_changes_its_keys_now_and_then_is_served(self):
        records, wire = self.client(V13)
        for stream in range(1, 41, 2):
            records.sock.sendall(records.key_update(stream % 4 == 1))
            self.still_serves(wire, stream)

    def test_key_updates_of_a_client_that_does_not_read(self):
        def act():
            records, wire = self.client(V13)
            self.pour_records(records, lambda: records.key_update(True), 30000)
            wait_closed(wire)
        self.attack(act, 4000, {"client/tls_message_flood": 1})

    def test_renegotiations_of_a_client_that_does_not_read_the_refusals(self):
        def act():
            records, wire = self.client(V12)
            self.pour_records(records, records.client_hello, 400000)
            wait_closed(wire)
        self.attack(act, 4000, {"client/tls_message_flood": 1})


if __name__ == "__main__":
    unittest.main()
