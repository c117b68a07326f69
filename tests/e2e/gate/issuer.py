"""An issuer of tokens: PyJWT signs them, and its keys are served by HTTPS.

It takes the certificate and the key of its site as arguments, says its port, and then does what each line of
its input says: `sign ALGORITHM {"claim": change}`, `forge HOW`, `rotate`. Each answer is a line of JSON.
"""

import base64
import hashlib
import hmac
import http.server
import json
import ssl
import sys
import threading
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER = "https://login.test/"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Keys:
    def __init__(self):
        self.of_kid = {
            "rsa": rsa.generate_private_key(65537, 2048),
            "p256": ec.generate_private_key(ec.SECP256R1()),
            "p384": ec.generate_private_key(ec.SECP384R1()),
            "ed": ed25519.Ed25519PrivateKey.generate(),
        }
        self.kid_of = {
            "RS256": "rsa", "RS384": "rsa", "RS512": "rsa",
            "PS256": "rsa", "PS384": "rsa", "PS512": "rsa",
            "ES256": "p256", "ES384": "p384", "EdDSA": "ed",
        }

    def rotate(self):
        self.of_kid["p256-2"] = ec.generate_private_key(ec.SECP256R1())
        self.kid_of["ES256"] = "p256-2"

    def jwks(self):
        kinds = {
            "rsa": jwt.algorithms.RSAAlgorithm,
            "ed": jwt.algorithms.OKPAlgorithm,
        }
        keys = []
        for kid, key in self.of_kid.items():
            kind = kinds.get(kid, jwt.algorithms.ECAlgorithm)
            jwk = json.loads(kind.to_jwk(key.public_key()))
            keys.append({**jwk, "kid": kid, "use": "sig"})
        # Issuers have keys of other kinds too.
        keys.append({"kty": "oct", "k": "c2VjcmV0", "kid": "oct"})
        keys.append({"kty": "PQ", "kid": "later", "use": "sig"})
        return json.dumps({"keys": keys}).encode()


def claims(changes):
    now = int(time.time())
    whole = {"iss": ISSUER, "aud": ["web", "api"], "sub": "ann", "iat": now, "exp": now + 600}
    whole.update(changes)
    return {name: value for name, value in whole.items() if value is not None}


def sign(keys, algorithm, changes):
    kid = keys.kid_of[algorithm]
    return jwt.encode(claims(changes), keys.of_kid[kid], algorithm, headers={"kid": kid})


def forge(keys, how):
    public = keys.of_kid["rsa"].public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if how == "none":
        return jwt.encode(claims({}), None, "none", headers={"kid": "rsa"})
    if how == "confused":
        head = b64(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "rsa"}).encode())
        message = head + "." + b64(json.dumps(claims({})).encode())
        mac = hmac.new(public, message.encode(), hashlib.sha256).digest()
        return message + "." + b64(mac)
    if how == "embedded":
        own = ec.generate_private_key(ec.SECP256R1())
        jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(own.public_key()))
        return jwt.encode(claims({}), own, "ES256", headers={"kid": "p256", "jwk": jwk})
    if how == "expired":
        return sign(keys, "ES256", {"exp": int(time.time()) - 3600})
    if how == "elsewhere":
        return sign(keys, "ES256", {"aud": "other"})
    if how == "other_issuer":
        return sign(keys, "ES256", {"iss": "https://evil.test/"})
    raise ValueError(how)


def site(keys, certificate, key):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = keys.jwks()
            self.send_response(200)
            self.send_header("Cache-Control", "public, max-age=3600")
            self.send_header("Content-Type", "application/jwk-set+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def main():
    keys = Keys()
    say = lambda answer: print(json.dumps(answer), flush=True)
    say({"port": site(keys, *sys.argv[1:3])})
    for line in sys.stdin:
        command, _, rest = line.strip().partition(" ")
        if command == "sign":
            algorithm, _, changes = rest.partition(" ")
            say({"token": sign(keys, algorithm, json.loads(changes or "{}"))})
        elif command == "forge":
            say({"token": forge(keys, rest)})
        elif command == "rotate":
            keys.rotate()
            say({})


main()
