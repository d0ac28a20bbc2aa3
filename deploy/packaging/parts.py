"""Writes which crates are in the program: a CycloneDX document for scanners, their licences for people, and the list that
a scanner finds in the program itself.

    parts.py TARGET SBOM LICENCES LIST

What is only used to build it, procedural macros and build scripts, is not in it.
"""

import datetime
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid
import zlib
from pathlib import Path

FILES = re.compile(r"(licen[sc]e|copying|notice|unlicense|copyright)", re.IGNORECASE)
RULE = "-" * 80


def cargo(*arguments):
    """Returns what cargo says about what is locked."""
    return subprocess.run(["cargo", *arguments, "--locked"], check=True, capture_output=True, text=True).stdout


def tree(target):
    """Returns the crates in the program by name and version, the program first, each with what it depends on."""
    crates, above = {}, []
    listed = cargo("tree", "--package", "backsoon", "--edges", "normal,no-proc-macro", "--target", target, "--prefix", "depth")
    for line in listed.splitlines():
        depth, name, version = re.match(r"(\d+)(\S+) v(\S+)", line).groups()
        crate = (name, version)
        del above[int(depth):]
        if above:
            crates[above[-1]].add(crate)
        crates.setdefault(crate, set())
        above.append(crate)
    return crates


def reference(crate):
    """Returns the name by which scanners look a crate up."""
    return "pkg:cargo/{}@{}".format(*crate)


def component(crate, package, checksum):
    """Returns the entry of a crate."""
    part = {
        "type": "library", "bom-ref": reference(crate), "name": crate[0], "version": crate[1],
        "licenses": [{"expression": package["license"].replace("/", " OR ")}], "purl": reference(crate),
    }
    if checksum:
        part["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        part["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return part


def document(crates, packages, checksums):
    """Returns the CycloneDX document, alike for every build of a commit."""
    (program, _), *others = crates.items()
    time = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.UTC)
    root = component(program, packages[program], None)
    root["type"] = "application"
    parts = [component(crate, packages[crate], checksums.get(crate)) for crate, _ in sorted(others)]
    name = json.dumps([root, parts], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}", "version": 1,
        "metadata": {"timestamp": time.isoformat(), "component": root},
        "components": parts,
        "dependencies": [
            {"ref": reference(crate), "dependsOn": [reference(need) for need in sorted(needs)]}
            for crate, needs in sorted(crates.items())
        ],
    }


def texts(package):
    """Returns the licence files of a crate."""
    folder = Path(package["manifest_path"]).parent
    found = [file for file in folder.iterdir() if FILES.match(file.name) and file.is_file()]
    found += [file for file in folder.glob("LICENSES/*") if file.is_file()]
    return [file.read_text(errors="replace").strip() for file in sorted(found)]


def licences(crates, packages):
    """Returns all licences, each text once, with the crates that bring it."""
    users, bare = {}, []
    for crate in sorted(list(crates)[1:]):
        found = texts(packages[crate])
        for text in found:
            users.setdefault(text, []).append(crate)
        if not found:
            bare.append(crate)
    lines = ["The program backsoon has these crates in it. Each is used under the licence that is named here; the texts follow.", ""]
    lines += [f"{name} {version}: {packages[name, version]['license']}" for name, version in sorted(list(crates)[1:])]
    lines += ["", "Without a text of their own, under one of those that follow:", *(f"  {name} {version}" for name, version in bare)]
    for text, crates_of in sorted(users.items(), key=lambda item: (item[1], item[0])):
        lines += ["", RULE, *(f"{name} {version}" for name, version in crates_of), "", text]
    return "\n".join(lines) + "\n"


def list_of(crates, checksums):
    """Returns the list in the form of `cargo auditable`: compressed JSON, for the section `.dep-v0` of the program."""
    order = sorted(crates)
    packages = []
    for crate in order:
        package = {"name": crate[0], "version": crate[1], "source": "crates.io" if checksums.get(crate) else "local"}
        if crates[crate]:
            package["dependencies"] = sorted(order.index(need) for need in crates[crate])
        packages.append(package)
    packages[order.index(next(iter(crates)))]["root"] = True
    return zlib.compress(json.dumps({"packages": packages, "format": 1}, separators=(",", ":")).encode(), 9)


def main(target, sbom, file, within):
    """Writes all three."""
    crates = tree(target)
    packages = {(package["name"], package["version"]): package for package in json.loads(cargo("metadata", "--format-version", "1"))["packages"]}
    lock = tomllib.loads(Path("Cargo.lock").read_text())
    checksums = {(package["name"], package["version"]): package.get("checksum") for package in lock["package"]}
    Path(sbom).write_text(json.dumps(document(crates, packages, checksums), indent=1) + "\n")
    Path(file).write_text(licences(crates, packages))
    Path(within).write_bytes(list_of(crates, checksums))


main(*sys.argv[1:])
