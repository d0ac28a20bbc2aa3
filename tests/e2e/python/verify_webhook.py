"""Verifies a webhook as its receiver would: with the public key that the site tells, by `cryptography`."""

import base64
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

seen = json.load(open(sys.argv[1]))
body = seen["body"].encode()
signed = f"{seen['webhook-id']}.{seen['webhook-timestamp']}.".encode() + body
keys = [base64.b64decode(key.removeprefix("whpk_")) for key in seen["keys"]]
signatures = [text.partition(",")[2] for text in seen["webhook-signature"].split() if text.startswith("v1a,")]


def is_signed(data):
    for key in keys:
        for signature in signatures:
            try:
                Ed25519PublicKey.from_public_bytes(key).verify(base64.b64decode(signature), data)
                return True
            except InvalidSignature:
                pass
    return False


print(is_signed(signed), is_signed(signed + b" "))
