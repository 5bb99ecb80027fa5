"""Peers that vanish without FIN or RST, as a machine does that loses its power: TCP finds them out, their connections
are freed, and what has to do with others goes on (docs/defences.md)."""
import threading
import time
import unittest

import h2wire
from attack import RESPONSE_HEAD, AttackCase
from cable import FAR, NEAR, Cable, own_network
from h2wire import END_STREAM, HEADERS, RST, Target, message, ok_response, request_fields
from rig import HealthyClient, wait_until

CHAT = "/test.Test/Chat"      # answers with a head that says by whom, then echoes
TICKER = "/test.Test/Ticker"  # a message five times a second
CLIENT_S = 120                # src/proxy/limits.h: kKeepaliveIdleSeconds …
TARGET_S = 40                 # src/net/sockets.cc


def serving(word):
    def tick(wire, stream, over):
        while not over.wait(0.2):
            wire.send_data(stream, message(b"tick"))

    def script(wire, target):
        streams = {}  # (path, event that it is over)
        while (frame := wire.receive(400)) is not None:
            wire.answer_control(frame)
            path, over = streams.get(frame.stream, (None, None))
            if frame.type == HEADERS and path is None:
                path, over = streams[frame.stream] = dict(frame.headers)[":path"], threading.Event()
                target.count(path)
                if path in (CHAT, TICKER):
                    wire.send_headers(frame.stream, RESPONSE_HEAD + [("x-by", word)])
                if path == TICKER:
                    threading.Thread(target=tick, args=(wire, frame.stream, over), daemon=True).start()
            elif frame.type == h2wire.DATA and frame.payload:
                wire.credit(0, len(frame.payload))
                if path == CHAT:
                    wire.send_data(frame.stream, frame.payload)
            elif frame.type == RST and path is not None:
                over.set()
                target.count("reset " + path)
                del streams[frame.stream]
            if frame.type in (HEADERS, h2wire.DATA) and frame.flags & END_STREAM and path not in (CHAT, TICKER):
                ok_response(wire, frame.stream)
    return script


class Vanished(AttackCase):
    def setUp(self):
        super().setUp()
        self.cable = Cable(self)

    def target(self, word, address="127.0.0.1"):
        made = Target(serving(word), address=address)
        self.addCleanup(made.close)
        return made

    def test_clients_are_found_out_whether_they_are_owed_messages_or_not(self):
        target = self.target("near")
        self.launch(target.port, idle_ms=600000, address="0.0.0.0")
        with HealthyClient(self, self.port) as healthy:
            before, descriptors = self.counters(), self.lb.descriptors()
            for path in (CHAT, TICKER):
                wire = self.cable.at_far(lambda: self.open(address=NEAR))
                wire.send_headers(1, request_fields(path))
                wire.wait_for(lambda f: f.type == HEADERS)
            self.cable.cut()
            began = time.monotonic()
            wait_until(lambda: target.executed["reset " + CHAT] + target.executed["reset " + TICKER] == 2,
                       "both streams are cancelled", CLIENT_S + 10)
            self.assertGreater(time.monotonic() - began, CLIENT_S - 10)  # a client may be out of reach for a while
        self.wait_counters(before, {"client/broken": 2})
        wait_until(lambda: self.lb.descriptors() <= descriptors, "their descriptors are given back")
        self.wait_streams(0)
        self.assertEqual(healthy.failures, [])

    def chats(self, wire, words):
        """A chat with each of these targets: {word: stream}."""
        found, stream = {}, 1
        while set(found) != set(words):
            wire.send_headers(stream, request_fields(CHAT))
            frames = wire.wait_for(lambda f, s=stream: f.type == HEADERS and f.stream == s)
            found.setdefault(dict(frames[-1].headers)["x-by"], stream)
            stream += 2
        return found

    def test_targets_are_found_out_whether_they_owe_an_acknowledgement_or_not(self):
        far = [self.cable.at_far(lambda word=word: self.target(word, FAR)) for word in ("quiet", "owing")]
        near = self.target("near")
        self.launch(near.port, *((FAR, t.port) for t in far), idle_ms=600000)
        before, descriptors = self.counters(), self.lb.descriptors()
        wire = self.open()
        chats = self.chats(wire, ("near", "quiet", "owing"))
        self.cable.cut()
        began = time.monotonic()
        wire.send_data(chats["owing"], message(b"are you there?"))
        ended = {}
        while len(ended) < 2:
            self.assertLess(time.monotonic() - began, TARGET_S + 10, ended)
            wire.send_data(chats["near"], message(b"still here?"))
            frames = wire.wait_for(lambda f: f.stream == chats["near"] and f.type == h2wire.DATA)
            for frame in frames:
                for word in ("quiet", "owing"):
                    if frame.stream == chats[word] and frame.flags & END_STREAM:
                        self.assertEqual(dict(frame.headers)["grpc-status"], "14")
                        ended[word] = time.monotonic() - began
            time.sleep(0.2)
        self.assertGreater(min(ended.values()), TARGET_S - 12)  # of quiet ones the seconds count from the last packet
        self.wait_counters(before, {"target/broken": 2})
        wire.close()
        wait_until(lambda: self.lb.descriptors() <= descriptors + 1, "their descriptors are given back")


if __name__ == "__main__":
    own_network()
    unittest.main()
