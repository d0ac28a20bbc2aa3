"""Ends one backsoon and starts another on the same socket, under load, as an upgrade does below systemd.

Clients that open a connection for each request must not notice: none is refused or reset. A request that is in flight
when the old one is told to end gets its answer.
"""

import http.client
import http.server
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

CLIENTS = 4
RESTARTS = 3


class App(http.server.BaseHTTPRequestHandler):
    """Answers at once, or after a second."""

    def do_GET(self):
        if self.path == "/slow":
            time.sleep(1)
        body = b"hello"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing."""


def start(program, config, listener):
    """Starts a backsoon with the socket as its descriptor 3, and waits until it says that it is ready."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, tempfile.TemporaryDirectory() as folder:
        told.bind(f"{folder}/notify")
        told.settimeout(30)

        def hand_over():
            high = os.dup2(listener.fileno(), 100)
            os.dup2(high, 3, inheritable=True)
            os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), NOTIFY_SOCKET=f"{folder}/notify")

        process = subprocess.Popen(
            ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", program, "run", "--config", config],
            preexec_fn=hand_over, close_fds=False, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            env={**os.environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": f"{folder}/notify"},
        )
        while b"READY=1" not in told.recv(4096):
            pass
        return process


def ask(port, path):
    """Sends one request by a connection of its own, and returns the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def main(program):
    """Restarts under load, and counts what clients saw."""
    app = http.server.ThreadingHTTPServer(("127.0.0.1", 0), App)
    app.daemon_threads = True
    threading.Thread(target=app.serve_forever, daemon=True).start()
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    port = listener.getsockname()[1]
    folder = tempfile.TemporaryDirectory()
    config = Path(folder.name) / "backsoon.toml"
    config.write_text(
        f'[[listen]]\naddress = "127.0.0.1:{port}"\n[limits]\ngrace = "0s"\n'
        f'[routes.web]\nupstream = "http://127.0.0.1:{app.server_port}"\n'
    )
    seen, over = [], threading.Event()

    def load():
        while not over.is_set():
            try:
                seen.append(ask(port, "/"))
            except OSError as error:
                seen.append(repr(error))
            except http.client.HTTPException as error:
                seen.append(repr(error))

    process = start(program, config, listener)
    clients = [threading.Thread(target=load) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for _ in range(RESTARTS):
        slow = []
        asking = threading.Thread(target=lambda: slow.append(ask(port, "/slow")))
        asking.start()
        # It is in flight when the upstream has it, at the latest half way through its second.
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, "the old one did not end well"
        asking.join()
        assert slow == [200], f"a request in flight got {slow}"
        # Nobody accepts now. Connections wait.
        process = start(program, config, listener)
    over.set()
    for client in clients:
        client.join()
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    lost = [answer for answer in seen if answer != 200]
    print(f"{RESTARTS} restarts, {len(seen)} requests on connections of their own, {len(lost)} lost")
    assert len(seen) > RESTARTS * CLIENTS and not lost, lost[:5]


main(sys.argv[1])
