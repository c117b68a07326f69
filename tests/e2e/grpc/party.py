"""Both ends of gRPC, on grpcio, that a test drives over stdin.

It prints the port of its backend, which speaks HTTP/2 in the clear. Each line is a command, each answer one
JSON object on a line:
  connect ADDRESS FILE   calls go to this gateway from here on, which shows a certificate in FILE; {}
  unary BYTES            {"bytes":N,"last":"..."}: what came back, and a field of the trailers
  stream COUNT           {"messages":N}
  chat COUNT             sends a message only when the one before has come back; {"messages":N}
  fail                   {"code":"...","details":"...","last":"..."}
  wait SECONDS           calls what never answers with this deadline; {"code":"...","given":N,"ended":BOOL}: with
                         how many seconds the backend was called, and whether it learnt of the end
  cancel                 begins a stream and cancels it; {"ended":BOOL}, whether the backend learnt of it
  health WORD            says of itself that it is serving, if the word is yes; {"asked":"..."}: the service whose
                         health was asked for last
  stop                   ends the backend; {}
  try                    calls what is no longer there; {"code":"...","details":"..."}
"""

import json
import sys
import threading
from concurrent import futures

import grpc

TIMEOUT = 60


class Echo(grpc.GenericRpcHandler):
    def __init__(self):
        self.given = None
        self.serving = True
        self.asked = None
        self.ended = threading.Event()
        self.handlers = {
            "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(self.check),
            "/test.Echo/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/test.Echo/Stream": grpc.unary_stream_rpc_method_handler(self.stream),
            "/test.Echo/Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "/test.Echo/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "/test.Echo/Wait": grpc.unary_unary_rpc_method_handler(self.wait),
            "/test.Echo/Endless": grpc.unary_stream_rpc_method_handler(self.endless),
        }

    def service(self, details):
        return self.handlers.get(details.method)

    def check(self, request, context):
        self.asked = request[2:].decode()
        return b"\x08\x01" if self.serving else b"\x08\x02"

    def unary(self, request, context):
        context.set_trailing_metadata((("x-last", "yes"),))
        return request

    def stream(self, request, context):
        for _ in range(int(request)):
            yield b"m" * 1000

    def chat(self, requests, context):
        yield from requests

    def fail(self, request, context):
        context.set_trailing_metadata((("x-last", "yes"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not 100 % ready")

    def wait(self, request, context):
        self.given = context.time_remaining()
        self.until_ended(context)
        return b""

    def endless(self, request, context):
        yield b"first"
        self.until_ended(context)

    def until_ended(self, context):
        gone = threading.Event()
        if context.add_callback(gone.set):
            gone.wait(TIMEOUT)
        self.ended.set()


class Party:
    def __init__(self):
        self.echo = Echo()
        self.server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[self.echo])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.channel = None

    def connect(self, address, file):
        with open(file, "rb") as certificate:
            credentials = grpc.ssl_channel_credentials(certificate.read())
        options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.enable_http_proxy", 0)]
        self.channel = grpc.secure_channel(address, credentials, options)
        return {}

    def unary(self, length):
        method = self.channel.unary_unary("/test.Echo/Unary")
        answer, call = method.with_call(b"x" * int(length), timeout=TIMEOUT)
        return {"bytes": len(answer), "last": dict(call.trailing_metadata()).get("x-last")}

    def stream(self, count):
        method = self.channel.unary_stream("/test.Echo/Stream")
        return {"messages": sum(1 for _ in method(count.encode(), timeout=TIMEOUT))}

    def chat(self, count):
        returned = threading.Semaphore(1)

        def messages():
            for _ in range(int(count)):
                returned.acquire()
                yield b"m"

        seen = 0
        for _ in self.channel.stream_stream("/test.Echo/Chat")(messages(), timeout=TIMEOUT):
            seen += 1
            returned.release()
        return {"messages": seen}

    def failing(self, method, timeout=TIMEOUT):
        try:
            self.channel.unary_unary(method)(b"", timeout=timeout)
        except grpc.RpcError as error:
            last = dict(error.trailing_metadata() or ()).get("x-last")
            return {"code": error.code().name, "details": error.details(), "last": last}
        return {"code": "OK"}

    def fail(self):
        return self.failing("/test.Echo/Fail")

    def wait(self, seconds):
        self.echo.ended.clear()
        answer = self.failing("/test.Echo/Wait", float(seconds))
        answer["ended"] = self.echo.ended.wait(TIMEOUT)
        answer["given"] = self.echo.given
        return answer

    def cancel(self):
        self.echo.ended.clear()
        call = self.channel.unary_stream("/test.Echo/Endless")(b"", timeout=TIMEOUT)
        next(call)
        call.cancel()
        return {"ended": self.echo.ended.wait(TIMEOUT)}

    def health(self, word):
        self.echo.serving = word == "yes"
        return {"asked": self.echo.asked}

    def stop(self):
        self.server.stop(None).wait(TIMEOUT)
        return {}

    def try_(self):
        return self.failing("/test.Echo/Unary")


party = Party()
print(json.dumps({"port": party.port}), flush=True)
for line in sys.stdin:
    command, *arguments = line.split()
    answer = getattr(party, {"try": "try_"}.get(command, command))(*arguments)
    print(json.dumps(answer), flush=True)
