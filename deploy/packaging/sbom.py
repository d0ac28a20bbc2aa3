"""Validates the list of parts by its schema, and compares it with Cargo.lock."""

import json
import sys
import tomllib
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

text, lock = Path(sys.argv[1]).read_text(), tomllib.loads(Path(sys.argv[2]).read_text())
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
assert error is None, error
bom = json.loads(text)
locked = {(package["name"], package["version"]) for package in lock["package"]}
parts = {(part["name"], part["version"]) for part in bom["components"]}
assert bom["metadata"]["component"]["name"] == "backsoon"
assert parts <= locked, parts - locked
assert {"hyper", "rustls", "libsqlite3-sys"} <= {name for name, _ in parts}
unlicensed = [part["name"] for part in bom["components"] if not part.get("licenses")]
assert not unlicensed, unlicensed
print(f"{len(parts)} parts, each with a licence and in Cargo.lock")
