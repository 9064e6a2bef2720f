"""Uploads small blobs in two halves, each a request of its own, through a server that dies in between.

What the server has acknowledged as whole must be there for good; what it has acknowledged in part goes on from there.
"""

import base64
import hashlib
import http.client
import time

PAUSE_SECONDS = 0.25


def metadata(content):
    """The header that announces a blob."""
    digest = hashlib.sha256(content).hexdigest()
    return "sha256 " + base64.b64encode(digest.encode()).decode()


class Courier:
    def __init__(self, cluster, random):
        self.cluster = cluster
        self.random = random
        self.delivered = []
        self.content = None
        self.location = None
        # Bytes that the server says it has; None: a request was cut, it has to be asked.
        self.acknowledged = 0
        # The largest number of bytes it has ever said, and whether it was asked for the rest.
        self.promised = 0
        self.is_rest_sent = False
        self.next_at = 0.0

    def step(self):
        """One request, if it is time for one."""
        if time.monotonic() < self.next_at:
            return
        self.next_at = time.monotonic() + PAUSE_SECONDS
        try:
            self.go_on()
        except (OSError, http.client.HTTPException):
            # Killed: what became of the request is asked next time.
            self.acknowledged = None

    def go_on(self):
        if self.content is None:
            self.content = self.random.randbytes(self.random.randint(2, 100_000))
            self.forget()
        if self.location is None:
            return self.create()
        if self.acknowledged is None:
            return self.ask()
        half = len(self.content) // 2
        end = half if self.acknowledged < half else len(self.content)
        self.is_rest_sent = self.is_rest_sent or end == len(self.content)
        status, headers = self.request("PATCH", self.location, self.content[self.acknowledged:end],
                                       {"Upload-Offset": str(self.acknowledged)})
        if status != 204:
            raise AssertionError(f"PATCH of an upload at byte {self.acknowledged}: HTTP {status}")
        self.note(int(headers["Upload-Offset"]))

    def create(self):
        status, headers = self.request("POST", "/upload", b"", {
            "Upload-Length": str(len(self.content)), "Upload-Metadata": metadata(self.content)})
        if status != 201:
            raise AssertionError(f"creation of an upload: HTTP {status}")
        self.location = headers["Location"]
        self.note(int(headers["Upload-Offset"]))

    def ask(self):
        status, headers = self.request("HEAD", self.location, b"", {})
        if status == 404 and self.is_rest_sent:
            # Finished: made again, which tells at once that the blob is there.
            self.forget()
        elif status == 200:
            self.note(int(headers["Upload-Offset"]))
        else:
            raise AssertionError(f"HEAD of an upload: HTTP {status}")

    def forget(self):
        self.location, self.acknowledged, self.promised, self.is_rest_sent = None, 0, 0, False

    def note(self, offset):
        if offset < self.promised:
            raise AssertionError(f"an upload went back from byte {self.promised} to {offset}")
        self.acknowledged = self.promised = offset
        if offset == len(self.content):
            self.delivered.append(hashlib.sha256(self.content).hexdigest())
            self.content = None

    def request(self, method, path, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=10)
        try:
            connection.request(method, path, body=body, headers={
                "Tus-Resumable": "1.0.0", "Authorization": f"Bearer {self.cluster.token()}",
                **({"Content-Type": "application/offset+octet-stream"} if method == "PATCH" else {}), **headers})
            reply = connection.getresponse()
            reply.read()
            return reply.status, reply.headers
        finally:
            connection.close()
