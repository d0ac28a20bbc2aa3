"""Takes what differs from build to build out of an archive of an image: the name and the number of the container in which
it was made. Prints nothing.

    image.py FROM TO
"""

import hashlib
import io
import json
import sys
import tarfile


def add(archive, name, size, content):
    """Adds a file without a time and an owner."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o444
    archive.addfile(entry, content)


def main(source, target):
    """Copies the layers as they are, and writes the rest anew."""
    with tarfile.open(source) as old, tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as new:
        (image,) = json.load(old.extractfile("manifest.json"))
        config = json.load(old.extractfile(image["Config"]))
        for name in ("container", "container_config"):
            config.pop(name, None)
        config["config"].pop("Hostname", None)
        text = json.dumps(config, sort_keys=True, separators=(",", ":")).encode()
        image["Config"] = hashlib.sha256(text).hexdigest() + ".json"
        for layer in image["Layers"]:
            add(new, layer, old.getmember(layer).size, old.extractfile(layer))
        manifest = json.dumps([image]).encode()
        add(new, image["Config"], len(text), io.BytesIO(text))
        add(new, "manifest.json", len(manifest), io.BytesIO(manifest))


main(*sys.argv[1:])
