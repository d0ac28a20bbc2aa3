"""Binds a port and a unix socket, and becomes a command that finds them as systemd would hand them over."""

import os
import socket
import sys

port, path, *command = sys.argv[1:]
tcp = socket.create_server(("127.0.0.1", int(port)))
unix = socket.socket(socket.AF_UNIX)
unix.bind(path)
unix.listen()
# Away from where they are to go, so that none is overwritten.
high = [os.dup2(listener.fileno(), 100 + index) for index, listener in enumerate((tcp, unix))]
for index, descriptor in enumerate(high):
    os.dup2(descriptor, 3 + index, inheritable=True)
os.environ["LISTEN_FDS"] = str(len(high))
os.execvp(command[0], command)
