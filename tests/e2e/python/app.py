"""An app that counts what it is sent, and streams. Prints its port."""

import http.server


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/stream":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for number in range(5):
                piece = b"piece %d\n" % number
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.answer(b"hello from " + self.path.encode())

    def do_POST(self):
        length = self.headers.get("Content-Length")
        if length is not None:
            size = len(self.rfile.read(int(length)))
        else:
            size = 0
            while chunk := int(self.rfile.readline(), 16):
                size += len(self.rfile.read(chunk))
                self.rfile.readline()
            self.rfile.readline()
        self.answer(b"%d" % size)

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    # The default is 5: when 90 connections come at once the kernel drops some, and tries again after seconds.
    request_queue_size = 128


server = Server(("127.0.0.1", 0), App)
print(server.server_port, flush=True)
server.serve_forever()
