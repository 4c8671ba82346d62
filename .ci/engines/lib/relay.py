"""An HTTP relay before a storage server: it keeps a record and can hold requests back.

A request that is held back makes "kill it just before it completes" a fact instead of a race.
"""

import collections
import http.client
import http.server
import socketserver
import threading
import time
import urllib.parse

# Headers that the relay writes itself.
HOP = ("connection", "transfer-encoding", "content-length")
Request = collections.namedtuple("Request", "method path query headers length status")


class Relay:
    def __init__(self, upstream_port):
        self.upstream, self.lock = upstream_port, threading.Lock()
        self.release = threading.Event()
        self.clear()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.relay = self
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def clear(self):
        """Drops what is held back, lets everything through from now on, and empties the record."""
        with self.lock:
            self.release.set()
            self.record, self.passing = [], 0
            self.most_parts, self.hold_complete, self.lose_complete = None, False, False
            self.reached, self.release = threading.Event(), threading.Event()

    def parts(self):
        return [r for r in self.record if is_part(r.method, r.query) and r.status == 200]

    def copies(self):
        return [r for r in self.parts() if "x-amz-copy-source" in r.headers]

    def wait(self, ended):
        """Waits until the point was reached at which requests are held back."""
        end = time.monotonic() + 120
        while not self.reached.wait(0.1):
            if ended() or time.monotonic() > end:
                seen = ", ".join(f"{r.method} {r.status}" for r in self.record)
                raise AssertionError(
                    f"the upload did not get to where it was to be stopped: {seen}"
                )

    def admit(self, method, query):
        """Holds the request back if it is to be; false when it must not go on."""
        with self.lock:
            release = self.release
            if is_complete(method, query) and self.hold_complete:
                self.reached.set()
            elif is_part(method, query) and self.passing == self.most_parts:
                pass
            else:
                self.passing += is_part(method, query)
                return True
        release.wait(120)
        return False

    def lose(self, method, query):
        """True when the server's answer must not reach the client."""
        if not (self.lose_complete and is_complete(method, query)):
            return False
        release = self.release
        self.reached.set()
        release.wait(120)
        return True

    def note(self, request):
        with self.lock:
            self.record.append(request)
            if self.most_parts is not None and len(self.parts()) >= self.most_parts:
                self.reached.set()

    def close(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


def is_part(method, query):
    return method == "PUT" and "partNumber" in query


def is_complete(method, query):
    return method == "POST" and "uploadId" in query


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """A client that was killed is no error here."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def forward(self):
        relay = self.server.relay
        path, _, query = self.path.partition("?")
        query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.body()
        self.close_connection = True
        if len(body) < int(headers.get("content-length", 0)) or not relay.admit(
            self.command, query
        ):
            return
        answer, data = self.ask(body)
        if relay.lose(self.command, query):
            return
        relay.note(Request(self.command, path, query, headers, len(body), answer.status))
        self.close_connection = False
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP:
                self.send_header(name, value)
        if self.command == "HEAD":
            self.send_header("Content-Length", answer.getheader("Content-Length", "0"))
        elif answer.status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def ask(self, body):
        """Sends the request on, as it came, and reads the whole answer."""
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.relay.upstream, timeout=120)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP:
                upstream.putheader(name, value)
        if body or "Content-Length" in self.headers:
            upstream.putheader("Content-Length", str(len(body)))
        upstream.endheaders(body or None)
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        return answer, data

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward
