"""Parts of sets: a local server that gives them, and small ones that R wrote."""

import contextlib
import dataclasses
import hashlib
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from qbm_jax.data.sources import SOURCES

R_FILES = Path(__file__).parent / "data" / "r_parts.tar.xz"  # which r_parts.R wrote


def part_files():
    """The files of R by name."""
    with tarfile.open(R_FILES) as archive:
        return {each.name: archive.extractfile(each).read() for each in archive}


class PartServer:
    """Gives what `served` has under the last name of an address.

    Attributes:
      served: contents by name.
      address: of the server.
    """

    def __init__(self, monkeypatch, address):
        self.served, self.address = {}, address
        self._monkeypatch = monkeypatch

    @property
    def url(self):
        """In the place of `sources.GITHUB`."""
        return self.address + "/{blob}"

    def offer(self, name, parts, **record):
        """Puts contents in the place of a set's parts, and says so in its record."""
        blobs = [blob_of(each) for each in parts]
        self.served |= dict(zip(blobs, parts, strict=True))
        changed = [
            dataclasses.replace(part, blob=blob)
            for part, blob in zip(SOURCES[name].parts, blobs, strict=True)
        ]
        source = dataclasses.replace(SOURCES[name], parts=tuple(changed), **record)
        self._monkeypatch.setitem(SOURCES, name, source)


def blob_of(content):
    """Git's number of a content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextlib.contextmanager
def part_server(monkeypatch) -> Iterator[PartServer]:
    """A server on this computer, as long as it is asked for."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = server.served.get(self.path.rpartition("/")[2])
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = PartServer(monkeypatch, f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    http.shutdown()
    thread.join()
    http.server_close()
