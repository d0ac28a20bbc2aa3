"""Reads the list of crates that is in a program, and compares it with Cargo.lock and with what the program says it is."""

import json
import sys
import tomllib
import zlib
from pathlib import Path

packages = json.loads(zlib.decompress(Path(sys.argv[1]).read_bytes()))["packages"]
locked = {(package["name"], package["version"]) for package in tomllib.loads(Path(sys.argv[3]).read_text())["package"]}
listed = [(package["name"], package["version"]) for package in packages]
roots = [package for package in packages if package.get("root")]
assert [f"{root['name']} {root['version']}" for root in roots] == [sys.argv[2]], roots
assert set(listed) <= locked, set(listed) - locked
# Every one is needed by another, and the scanner can tell by which.
needed = {need for package in packages for need in package.get("dependencies", [])}
assert needed == set(range(len(packages))) - {packages.index(roots[0])}
assert {"hyper", "rustls", "libsqlite3-sys"} <= {name for name, _ in listed}
print(f"{sys.argv[2]}: {len(packages)} crates, all in Cargo.lock")
