"""The batch routes of an OpenAI-compatible API.

Source: OpenAI's API reference, "Files" and "Batch". A request is tried again by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from factory.recipe.engines.options import ServerOptions
from factory.sampling.engines.connections import Redactor, route, tls
from factory.sampling.engines.exchange import read_headers
from factory.sampling.engines.faults import Fault, read_fault

OPEN = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
"""States of a batch that is not at its end. The others: completed, failed, expired, cancelled."""

_TRANSFER_S = 600.0


class BatchApi:
    """Uploads, starts, watches and downloads batches. Every method raises Fault."""

    def __init__(self, options: ServerOptions) -> None:
        headers, secrets = read_headers(options)
        self._url, self._key = options.urls[0], options.key_source
        self.redact = Redactor(secrets)
        timeout = httpx.Timeout(_TRANSFER_S, connect=10.0)
        self._client = httpx.Client(headers=headers, verify=tls(), timeout=timeout)

    def close(self) -> None:
        self._client.close()

    def upload(self, path: Path) -> str:
        """Upload a request file and return its id."""
        with open(path, "rb") as stream:
            files = {"file": (path.name, stream, "application/jsonl")}
            answer = self._json("POST", "/files", data={"purpose": "batch"}, files=files)
        return _read_id(answer, "file")

    def start(self, file_id: str, window: str) -> str:
        """Start the batch of an uploaded file and return the batch's id."""
        body = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": window,
        }
        return _read_id(self._json("POST", "/batches", json=body), "batch")

    def find(self, file_id: str) -> str | None:
        """Return the id of the batch that was started from a file, or None."""
        answer = self._json("GET", "/batches", params={"limit": 100})
        found = answer.get("data")
        if not isinstance(found, list):
            raise Fault("engine", "unknown", "GET /batches did not return a list of batches")
        for batch in found:
            if isinstance(batch, dict) and batch.get("input_file_id") == file_id:
                return _read_id(batch, "batch")
        return None

    def look(self, batch_id: str) -> dict[str, Any]:
        """Return what the API says of a batch; its `status` is a string."""
        answer = self._json("GET", f"/batches/{batch_id}")
        if not isinstance(answer.get("status"), str):
            raise Fault("engine", "unknown", f"batch {batch_id} was reported without a status")
        return answer

    def cancel(self, batch_id: str) -> None:
        self._json("POST", f"/batches/{batch_id}/cancel")

    def download(self, file_id: str) -> Iterator[bytes]:
        """Yield the content of a result file, and a line's end after it."""
        url = self._route(f"/files/{file_id}/content")
        with _as_faults(), self._client.stream("GET", url) as response:
            if response.is_error:
                response.read()
            self._raise_for_status(response)
            yield from response.iter_bytes()
        yield b"\n"

    def _json(self, method: str, path: str, **parts: Any) -> dict[str, Any]:
        with _as_faults():
            response = self._client.request(method, self._route(path), **parts)
        self._raise_for_status(response)
        try:
            answer = response.json()
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise Fault("engine", "unknown", f"{method} {path} did not return a JSON object")
        return answer

    def _route(self, path: str) -> str:
        return route(self._url, path)

    def _raise_for_status(self, response: httpx.Response) -> None:
        content = response.content if response.is_error else b""
        fault = read_fault(response.status_code, content, response.headers, self._key, self.redact)
        if fault is not None:
            raise fault


@contextmanager
def _as_faults() -> Iterator[None]:
    """Turn httpx errors into Faults."""
    try:
        yield
    except httpx.TimeoutException:
        raise Fault("timeout", "unknown", "no reply in time") from None
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise Fault("engine", "unknown", f"the connection broke: {reason}") from None


def _read_id(answer: dict[str, Any], what: str) -> str:
    found = answer.get("id")
    if not isinstance(found, str) or not found or "/" in found:
        raise Fault("engine", "unknown", f"the API named no id of the {what}")
    return found
