"""Holds the results of `wayhold bench` to the round trips that theory gives, and to nothing that a clock says."""

import json
import sys

# Until ready, until the handshake is complete, until the first byte.
HANDSHAKES = {
    "tcp-full": (2, 2, 3),
    "tcp-resumed": (2, 2, 3),
    "tcp-0rtt": (1, 2, 2),
    "quic-full": (1, 1, 2),
    "quic-retry": (2, 2, 3),
    "quic-token": (1, 1, 2),
    "quic-resumed": (1, 1, 2),
    "quic-0rtt": (0, 1, 1),
}
MOVES = {
    "quic-rebind": (None, None, 1),
    "quic-address": (None, None, 1),
    "quic-flip": (None, None, 1),
    "tcp-reconnect": (2, 2, 3),
    "tcp-reconnect-resumed": (2, 2, 3),
    "tcp-reconnect-0rtt": (1, 2, 2),
}
NAMES = ("round_trips_ready", "round_trips_handshake", "round_trips_first_byte")


def main(subject, path):
    expected = {"handshake": HANDSHAKES, "migrate": MOVES}[subject]
    with open(path, encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    seen = {}
    for record in records:
        if record["samples"] and record["scenario"]["losses"] == "none":
            trips = tuple(record["derived"].get(name) for name in NAMES)
            seen.setdefault(record["scenario"]["mode"], set()).add(trips)
    wrong = {mode: seen.get(mode) for mode, trips in expected.items() if seen.get(mode) != {trips}}
    for mode, trips in wrong.items():
        print(f"{mode}: expected {expected[mode]}, measured {trips or 'nothing'}")
    if wrong:
        sys.exit(1)
    print(f"{len(expected)} modes take the round trips of theory")


main(*sys.argv[1:])
