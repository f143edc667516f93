"""Downloads against a server on this machine: right, wrong, broken off, absent and silent."""

import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from qbm_jax.data import download
from qbm_jax.data.download import DownloadError, NoNetworkError, cache_folder, cached, fetch
from qbm_jax.errors import InputError

BODY = bytes(range(256)) * 4000


class Handler(BaseHTTPRequestHandler):
    """Answers by path; counts the requests."""

    requests = 0

    def do_GET(self):
        type(self).requests += 1
        if self.path == "/hang":
            self.server.stop_hanging.wait(30)
            return
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/right")
            self.end_headers()
            return
        if self.path == "/absent":
            self.send_error(404)
            return
        body = BODY[::-1] if self.path == "/wrong" else BODY
        self.send_response(200)
        if self.path != "/unsized":
            self.send_header("Content-Length", str(len(BODY) + (self.path == "/resized")))
        self.end_headers()
        part = self.path in ("/truncated", "/unsized", "/stall")
        self.wfile.write(body[:5000] if part else body)
        if self.path == "/stall":
            self.server.stop_hanging.wait(30)

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def server(monkeypatch):
    """A server of the set `small`; yields its address."""
    small = download.PublicSet(
        figshare_id=1,
        file_name="small.h5ad",
        num_bytes=len(BODY),
        md5=hashlib.md5(BODY).hexdigest(),
        batch_column="batch",
        label_column="cell_type",
        layer="counts",
    )
    monkeypatch.setitem(download.NAMED, "small", small)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Handler, "requests", 0)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.stop_hanging = threading.Event()
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.stop_hanging.set()
    http.shutdown()
    thread.join()
    http.server_close()


def get(url: str, folder) -> None:
    return fetch("small", folder, url=url, progress=False)


@pytest.mark.parametrize("place", ["/right", "/redirect"])
def test_right_file_is_kept_and_not_fetched_again(server, tmp_path, place):
    assert cached("small", tmp_path) is None
    path = get(server + place, tmp_path)
    assert path.read_bytes() == BODY and path == cached("small", tmp_path)
    asked = Handler.requests
    assert get(server + place, tmp_path) == path and Handler.requests == asked
    assert [file.name for file in tmp_path.iterdir()] == ["small.h5ad"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("/wrong", "expected md5 .* was deleted"),
        ("/unsized", "expected md5 .* was deleted"),
        ("/truncated", "broke off"),
        ("/resized", "expected 1024000 bytes, .* offers 1024001"),
        ("/absent", "answered 404"),
    ],
)
def test_bad_downloads_are_one_line_and_nothing_is_kept(server, tmp_path, place, message):
    with pytest.raises(DownloadError, match=message) as caught:
        get(server + place, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert get(server + "/right", tmp_path).read_bytes() == BODY  # running again mends it


def test_damaged_cached_file_is_replaced_and_never_used(server, tmp_path):
    for damaged in (BODY[:-1], BODY[::-1]):
        (tmp_path / "small.h5ad").write_bytes(damaged)
        assert cached("small", tmp_path) is None
        assert get(server + "/right", tmp_path).read_bytes() == BODY


def test_refused_connection_and_unknown_host_are_no_network(server, tmp_path):
    for url in ("http://127.0.0.1:9/x", "http://no-such-host.invalid/x"):
        start = time.monotonic()
        with pytest.raises(NoNetworkError, match=r"cannot reach|no answer"):
            get(url, tmp_path)
        assert time.monotonic() - start < 10
    assert list(tmp_path.iterdir()) == []


def test_silent_server_is_no_network_within_the_limit(server, tmp_path, monkeypatch):
    assert download.CONNECT_SECONDS < 10
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.3)
    start = time.monotonic()
    with pytest.raises(NoNetworkError, match=r"no answer .* within 0.3 s"):
        get(server + "/hang", tmp_path)
    assert time.monotonic() - start < 2


def test_transfer_that_stalls_breaks_off(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    with pytest.raises(DownloadError, match="broke off"):
        get(server + "/stall", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_cache_folder_that_is_a_file_is_an_input_error(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to the cache folder"):
        get(server + "/right", tmp_path / "file")


def test_cache_folder_is_argument_then_environment_then_user(monkeypatch, tmp_path):
    monkeypatch.setenv("QBM_JAX_CACHE", str(tmp_path / "environment"))
    assert cache_folder(tmp_path) == tmp_path
    assert cache_folder() == tmp_path / "environment"
    monkeypatch.delenv("QBM_JAX_CACHE")
    assert cache_folder().name == "qbm_jax"


def test_unknown_set_lists_the_sets():
    with pytest.raises(InputError, match=r"\['immune', 'lung', 'pancreas'\], got 'panckreas'"):
        fetch("panckreas")


def test_table_of_public_sets_is_complete():
    for public in download.NAMED.values():
        assert len(public.md5) == 32 and public.num_bytes > 3e8
        assert public.url.endswith(f"/{public.figshare_id}")
