"""An HTTP/3 client on aioquic that a test drives over stdin.

Each line is a command, each answer one JSON object on a line:
  get PATH            fetches; {"status":N,"bytes":N,"sha256":"HEX"}
  send METHOD PATH BYTES JSON
                      sends a request with that many bytes and these fields, a list of pairs;
                      {"status":N,"fields":[[NAME,VALUE],..],"body":"..."}
  start PATH          begins a fetch and answers {"started":true} at its first body byte
  finish              waits for that fetch; answers as get does
  upload PATH BYTES   posts that many bytes; {"status":N,"body":"...","sha256":"HEX"} of what was sent
  rebind              goes on from a new UDP socket, as after a NAT rebinding; {"port":N}
  return PATH         ends the connection, and fetches in the first flight of another one: as get does,
                      and {"early":BOOL}, whether the early data was accepted
  tunnel PATH TEXT    opens a tunnel of UDP (RFC 9298) unless it is open, sends a packet through it as an HTTP
                      datagram, and waits for one; {"status":N,"capsule_protocol":"...","packet":"..."}
  websocket PATH      asks for a WebSocket by extended CONNECT; {"status":N}
  begin BYTES         sends the first half of a message of that many bytes; {"begun":true}
  end                 sends the rest and waits for the message that comes back; {"sha256":"HEX","echo":"HEX"}
  close               ends the WebSocket; {"closed":true} when the stream has ended cleanly behind the answer
  quit
"""

import asyncio
import hashlib
import json
import os
import socket
import sys
from collections import deque

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DatagramReceived, DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamReset

TIMEOUT = 60


class Response:
    def __init__(self):
        self.status = None
        self.capsule_protocol = None
        self.fields = []
        self.hash = hashlib.sha256()
        self.length = 0
        self.body = bytearray()
        self.head = asyncio.get_running_loop().create_future()
        self.first_byte = asyncio.get_running_loop().create_future()
        self.done = asyncio.get_running_loop().create_future()

    def fail(self, why):
        for future in (self.head, self.first_byte, self.done):
            if not future.done():
                future.set_exception(RuntimeError(why))
                future.exception()

    def on_data(self, data):
        self.hash.update(data)
        self.length += len(data)
        if len(self.body) < 4096:
            self.body += data
        if data and not self.first_byte.done():
            self.first_byte.set_result(None)

    def end(self):
        for future in (self.first_byte, self.done):
            if not future.done():
                future.set_result(None)


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # What it calls WebTransport is what makes it say that it takes datagrams.
        self.http = H3Connection(self._quic, enable_webtransport=True)
        self.responses = {}
        self.tunnel = None
        self.packets = asyncio.Queue()
        self.early = None

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            for response in self.responses.values():
                response.fail(f"connection terminated: {event.error_code:#x} {event.reason_phrase}")
        elif isinstance(event, StreamReset) and event.stream_id in self.responses:
            self.responses[event.stream_id].fail(f"stream reset: {event.error_code:#x}")
        elif isinstance(event, HandshakeCompleted):
            self.early = event.early_data_accepted
        for http_event in self.http.handle_event(event):
            if isinstance(http_event, DatagramReceived):
                self.packets.put_nowait((http_event.stream_id, http_event.data))
                continue
            response = self.responses.get(getattr(http_event, "stream_id", None))
            if response is None:
                continue
            if isinstance(http_event, HeadersReceived):
                response.fields += [[name.decode(), value.decode()] for name, value in http_event.headers]
                for name, value in http_event.headers:
                    if name == b":status":
                        response.status = int(value)
                        if not response.head.done():
                            response.head.set_result(None)
                    if name == b"capsule-protocol":
                        response.capsule_protocol = value.decode()
            elif isinstance(http_event, DataReceived):
                response.on_data(http_event.data)
            if getattr(http_event, "stream_ended", False):
                response.end()

    def websocket(self, authority, path):
        stream_id = self._quic.get_next_available_stream_id()
        response = self.responses[stream_id] = WebSocket()
        response.stream_id = stream_id
        headers = [
            (b":method", b"CONNECT"),
            (b":protocol", b"websocket"),
            (b":scheme", b"https"),
            (b":authority", authority.encode()),
            (b":path", path.encode()),
            (b"sec-websocket-version", b"13"),
        ]
        self.http.send_headers(stream_id, headers)
        self.transmit()
        return response

    def send(self, socket, frame, last=False):
        self.http.send_data(socket.stream_id, frame, end_stream=last)
        self.transmit()

    def request(self, authority, method, path, body=None, fields=()):
        stream_id = self._quic.get_next_available_stream_id()
        response = self.responses[stream_id] = Response()
        headers = [
            (b":method", method.encode()),
            (b":scheme", b"https"),
            (b":authority", authority.encode()),
            (b":path", path.encode()),
        ]
        if body is not None:
            headers.append((b"content-length", str(len(body)).encode()))
        headers += [(name.encode(), value.encode()) for name, value in fields]
        self.http.send_headers(stream_id, headers, end_stream=body is None)
        if body is not None:
            self.http.send_data(stream_id, body, end_stream=True)
        self.transmit()
        return response


async def through_tunnel(client, authority, path, text):
    if client.tunnel is None:
        stream_id = client.tunnel = client._quic.get_next_available_stream_id()
        client.responses[stream_id] = Response()
        headers = [
            (b":method", b"CONNECT"),
            (b":protocol", b"connect-udp"),
            (b":scheme", b"https"),
            (b":authority", authority.encode()),
            (b":path", path.encode()),
            (b"capsule-protocol", b"?1"),
        ]
        client.http.send_headers(stream_id, headers)
        client.transmit()
    response = client.responses[client.tunnel]
    await asyncio.wait_for(response.head, TIMEOUT)
    # Context 0 is UDP. Datagrams may be lost.
    packet = b"\0" + text.encode()
    while True:
        client.http.send_datagram(client.tunnel, packet)
        client.transmit()
        try:
            stream_id, data = await asyncio.wait_for(client.packets.get(), 1)
        except asyncio.TimeoutError:
            continue
        if data == packet and stream_id == client.tunnel:
            break
    return {
        "status": response.status,
        "capsule_protocol": response.capsule_protocol,
        "packet": data[1:].decode(),
    }


class WebSocket(Response):
    """RFC 6455, section 5, as far as the test needs it."""

    def __init__(self):
        super().__init__()
        self.frames = asyncio.Queue()
        self.held = bytearray()

    def on_data(self, data):
        self.held += data
        while len(self.held) >= 2:
            length, start = self.held[1] & 0x7F, 2
            if length >= 126:
                start += 2 if length == 126 else 8
                if len(self.held) < start:
                    return
                length = int.from_bytes(self.held[2:start], "big")
            if len(self.held) < start + length:
                return
            opcode = self.held[0] & 0x0F
            self.frames.put_nowait((opcode, self.held[0] & 0x80 != 0, bytes(self.held[start : start + length])))
            del self.held[: start + length]

    async def message(self):
        parts, last = [], False
        while not last:
            opcode, last, part = await asyncio.wait_for(self.frames.get(), TIMEOUT)
            assert opcode == (0 if parts else 2), opcode
            parts.append(part)
        return b"".join(parts)


def masked(opcode, last, payload):
    mask = os.urandom(4)
    pattern = mask * (len(payload) // 4 + 1)
    count = len(payload)
    body = (int.from_bytes(payload, "big") ^ int.from_bytes(pattern[:count], "big")).to_bytes(count, "big")
    return bytes([0x80 * last | opcode, 0x80 | 127]) + count.to_bytes(8, "big") + mask + body


async def summary(response):
    await asyncio.wait_for(response.done, TIMEOUT)
    return {
        "status": response.status,
        "bytes": response.length,
        "sha256": response.hash.hexdigest(),
    }


async def rebind(client):
    new = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    new.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    new.bind(("::", 0))
    new.setblocking(False)
    old = client._transport
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: client, sock=new)
    old.close()
    # A client that sends nothing is not seen to move, and everything may have come and be acknowledged.
    client._quic.send_ping(0)
    client.transmit()
    return {"port": new.getsockname()[1]}


async def run(host, port, ca):
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=H3_ALPN,
        server_name="localhost",
        max_datagram_frame_size=65536,
    )
    configuration.load_verify_locations(cafile=ca)
    early = None
    while True:
        async with connect(
            host,
            port,
            configuration=configuration,
            create_protocol=Client,
            session_ticket_handler=lambda ticket: setattr(configuration, "session_ticket", ticket),
            token_handler=lambda token: setattr(configuration, "token", token),
            wait_connected=early is None,
            local_port=0,
        ) as client:
            early = await serve(client, f"localhost:{port}", early)
        if early is None:
            return


async def serve(client, authority, early):
    """Carries out commands until the end, or until the client is to return with a path."""
    if early is not None:
        answer = await summary(client.request(authority, "GET", early))
        print(json.dumps(answer | {"early": client.early}), flush=True)
    started = deque()
    while True:
        line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        words = line.split()
        if not words or words[0] == "quit":
            return None
        if words[0] == "return":
            return words[1]
        if words[0] == "get":
            answer = await summary(client.request(authority, "GET", words[1]))
        elif words[0] == "send":
            _, method, path, count, fields = line.split(maxsplit=4)
            body = bytes(int(count)) if int(count) else None
            response = client.request(authority, method, path, body, json.loads(fields))
            answer = await summary(response)
            answer = {"status": response.status, "fields": response.fields, "body": response.body.decode()}
        elif words[0] == "start":
            response = client.request(authority, "GET", words[1])
            await asyncio.wait_for(response.first_byte, TIMEOUT)
            started.append(response)
            answer = {"started": True}
        elif words[0] == "finish":
            answer = await summary(started.popleft())
        elif words[0] == "upload":
            body = bytes(index * 31 % 251 for index in range(int(words[2])))
            response = client.request(authority, "POST", words[1], body)
            answer = await summary(response)
            answer["body"] = response.body.decode()
            answer["sha256"] = hashlib.sha256(body).hexdigest()
        elif words[0] == "tunnel":
            answer = await through_tunnel(client, authority, words[1], words[2])
        elif words[0] == "websocket":
            websocket = client.websocket(authority, words[1])
            await asyncio.wait_for(websocket.head, TIMEOUT)
            answer = {"status": websocket.status}
        elif words[0] == "begin":
            message = bytes(index * 37 % 253 for index in range(int(words[1])))
            client.send(websocket, masked(2, False, message[: len(message) // 2]))
            answer = {"begun": True}
        elif words[0] == "end":
            client.send(websocket, masked(0, True, message[len(message) // 2 :]))
            echo = await websocket.message()
            answer = {
                "sha256": hashlib.sha256(message).hexdigest(),
                "echo": hashlib.sha256(echo).hexdigest(),
            }
        elif words[0] == "close":
            client.send(websocket, masked(8, True, b"\x03\xe8"), last=True)
            opcode, _, _ = await asyncio.wait_for(websocket.frames.get(), TIMEOUT)
            await asyncio.wait_for(websocket.done, TIMEOUT)
            answer = {"closed": opcode == 8}
        elif words[0] == "rebind":
            answer = await rebind(client)
        else:
            answer = {"error": f"unknown command {words[0]}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
