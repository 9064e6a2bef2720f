"""A network between a client and the server that can be taken away, slowed down and listened to."""

import re
import select
import socket
import threading
import time


class Relay:
    """Passes bytes between its own port and the server's; use as a context manager.

    `cut()` takes the network away: connections end, new ones are closed at once. `bytes_per_second`
    slows what the server sends. `requests` are the request lines and headers that passed.
    """

    def __init__(self, server_port, bytes_per_second=None):
        self.server_port = server_port
        self.bytes_per_second = bytes_per_second
        self.requests = []
        self.is_cut = False
        self.is_over = False
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.threads = []
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.is_over = True
        self.listener.close()
        for thread in [self.acceptor, *self.threads]:
            thread.join(timeout=5)

    def cut(self):
        self.is_cut = True

    def restore(self):
        self.is_cut = False

    def heads(self, pattern):
        """Heads of requests that match."""
        with self.lock:
            return [head for head in self.requests if re.search(pattern, head)]

    def accept(self):
        self.listener.settimeout(0.1)
        while not self.is_over:
            try:
                near, _ = self.listener.accept()
            except (TimeoutError, OSError):
                continue
            if self.is_cut:
                near.close()
                continue
            thread = threading.Thread(target=self.serve, args=(near,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def serve(self, near):
        try:
            far = socket.create_connection(("127.0.0.1", self.server_port), timeout=5)
        except OSError:
            near.close()
            return
        with near, far:
            try:
                self.pass_on(near, far)
            except OSError:
                pass

    def pass_on(self, near, far):
        while not self.is_over and not self.is_cut:
            ready, _, _ = select.select([near, far], [], [], 0.05)
            for source in ready:
                content = source.recv(16384)
                if not content:
                    return
                if source is near:
                    self.note(content)
                    far.sendall(content)
                    continue
                if self.bytes_per_second:
                    time.sleep(len(content) / self.bytes_per_second)
                near.sendall(content)

    def note(self, content):
        """A head that came in one piece; good enough for what a client here sends."""
        if re.match(rb"[A-Z]+ /", content):
            head = content.split(b"\r\n\r\n")[0].decode("latin-1")
            with self.lock:
                self.requests.append(head)
