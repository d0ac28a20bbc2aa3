"""A push service and a browser: takes messages, decrypts them with http_ece, and verifies their signature with PyJWT."""

import base64
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

import http_ece
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def tell(value):
    print(json.dumps(value), flush=True)


browser, auth = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)
point = browser.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


class Service(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        payload = http_ece.decrypt(body, private_key=browser, auth_secret=auth, version="aes128gcm")
        token, key = self.headers["authorization"].removeprefix("vapid t=").split(", k=")
        raw = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
        audience = f"http://127.0.0.1:{self.server.server_port}"
        claims = jwt.decode(token, public, algorithms=["ES256"], audience=audience)
        fields = {name.lower(): value for name, value in self.headers.items()}
        tell({"payload": json.loads(payload), "claims": claims, "fields": fields, "key": key})
        self.send_response(410 if self.path == "/gone" else 201)
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Service)
tell({"port": server.server_port, "p256dh": text(point), "auth": text(auth)})
for _ in range(int(sys.argv[1])):
    server.handle_request()
