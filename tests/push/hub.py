"""A test Hub in one process: the part of the upload protocol that huggingface_hub uses.

It serves HTTP on a local port and keeps files in memory. `faults` maps a step to the faults of its
next requests: a status to answer with, `drop` to close the connection, or `lose` to do the work and
then close the connection before answering.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Fault = int | str


@dataclass
class Hub:
    """The state of the server."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)  # sha256 → content
    modes: dict[str, str] = field(default_factory=dict)  # path → lfs or regular
    commits: list[dict[str, Any]] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)  # sha256 of every large file received
    seen: list[str] = field(default_factory=list)  # steps, in order
    repo: str | None = None
    private: bool = False
    token: str = ""
    retry_after: str | None = None
    faults: dict[str, list[Fault]] = field(default_factory=dict)

    @property
    def sha(self) -> str:
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()


STEPS = (
    ("POST", r"/api/repos/create", "create"),
    ("POST", r"/api/validate-yaml", "yaml"),
    ("POST", r"/api/datasets/[^/]+/[^/]+/preupload/main", "preupload"),
    ("POST", r"/datasets/[^/]+/[^/]+\.git/info/lfs/objects/batch", "batch"),
    ("PUT", r"/large/[0-9a-f]+", "put"),
    ("POST", r"/api/datasets/[^/]+/[^/]+/commit/main", "commit"),
    ("GET", r"/api/datasets/[^/]+/[^/]+/tree/main", "tree"),
    ("GET", r"/api/datasets/[^/]+/[^/]+(/revision/main)?", "info"),
)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def handle_one_step(self) -> None:
        path = urlsplit(self.path).path
        body = self._body()
        asked = f"{self.command} {path}"
        step = next((step for *form, step in STEPS if re.fullmatch(" ".join(form), asked)), None)
        if step is None:
            self._answer(404, {"error": f"no such step: {asked}"})
            return
        self.hub.seen.append(step)
        if step != "put" and self.headers.get("authorization") != f"Bearer {self.hub.token}":
            self._answer(401, {"error": "Invalid username or password."})
            return
        waiting = self.hub.faults.get(step, [])
        fault = waiting.pop(0) if waiting else None
        if fault == "drop":
            self._drop()
        elif isinstance(fault, int):
            self._answer(fault, {"error": "as the test wants it"})
        else:
            status, answer = getattr(self, f"do_{step}")(path, body)
            if fault == "lose":
                self._drop()
            else:
                self._answer(status, answer)

    do_GET = do_POST = do_PUT = handle_one_step

    def do_create(self, path: str, body: bytes) -> tuple[int, Any]:
        asked = json.loads(body)
        url = f"{self.hub.url}/datasets/{asked['organization']}/{asked['name']}"
        if self.hub.repo is not None:
            return 409, {"error": "You already created this dataset repo", "url": url}
        self.hub.repo = f"{asked['organization']}/{asked['name']}"
        self.hub.private = asked.get("visibility") == "private"
        return 200, {"url": url, "id": self.hub.repo, "name": self.hub.repo}

    def do_yaml(self, path: str, body: bytes) -> tuple[int, Any]:
        front = json.loads(body)["content"]
        assert front.startswith("---\n")
        return 200, {"errors": [], "warnings": []}

    def do_preupload(self, path: str, body: bytes) -> tuple[int, Any]:
        answer = []
        for file in json.loads(body)["files"]:
            name = file["path"]
            mode = "lfs" if name.endswith((".parquet", ".png")) else "regular"
            self.hub.modes[name] = mode
            answer.append(
                {
                    "path": name,
                    "uploadMode": mode,
                    "shouldIgnore": False,
                    "oid": _oid(self.hub.files[name], mode) if name in self.hub.files else None,
                }
            )
        return 200, {"files": answer}

    def do_batch(self, path: str, body: bytes) -> tuple[int, Any]:
        objects = []
        for item in json.loads(body)["objects"]:
            found = dict(item)
            if item["oid"] not in self.hub.large:
                found["actions"] = {"upload": {"href": f"{self.hub.url}/large/{item['oid']}"}}
            objects.append(found)
        return 200, {"transfer": "basic", "objects": objects}

    def do_put(self, path: str, body: bytes) -> tuple[int, Any]:
        oid = path.rsplit("/", 1)[-1]
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.large[oid] = body
        self.hub.uploads.append(oid)
        return 200, {}

    def do_commit(self, path: str, body: bytes) -> tuple[int, Any]:
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, self.hub.sha):
            return 412, {"error": "A commit has happened since."}
        files = dict(self.hub.files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.hub.files = files
        self.hub.commits.append({"summary": header["summary"], "operations": lines[1:]})
        url = f"{self.hub.url}/datasets/{self.hub.repo}/commit/{self.hub.sha}"
        return 200, {"commitUrl": url, "commitOid": self.hub.sha}

    def do_tree(self, path: str, body: bytes) -> tuple[int, Any]:
        return 200, [
            {"type": "file", "path": name, "size": len(content), "oid": _oid(content, "regular")}
            for name, content in sorted(self.hub.files.items())
        ]

    def do_info(self, path: str, body: bytes) -> tuple[int, Any]:
        siblings = [{"rfilename": name} for name in self.hub.files]
        return 200, {
            "id": self.hub.repo,
            "sha": self.hub.sha,
            "private": self.hub.private,
            "tags": [],
            "siblings": siblings,
        }

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline().strip(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if status == 429 and self.hub.retry_after is not None:
            self.send_header("retry-after", self.hub.retry_after)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def _oid(content: bytes, mode: str) -> str:
    """A file's identity at the Hub: sha256 for a large file, git's own hash for others."""
    if mode == "lfs":
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class QuietServer(ThreadingHTTPServer):
    """Prints nothing for a dropped connection, which the tests cause on purpose."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet."""


@contextmanager
def running_hub(token: str) -> Iterator[Hub]:
    """Run a Hub on a free local port."""
    hub = Hub(token=token)
    handler = type("BoundHandler", (Handler,), {"hub": hub})
    server = QuietServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
