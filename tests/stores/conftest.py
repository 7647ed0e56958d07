"""An S3 server for all tests of a process, a bucket and a proxy for each."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection
from uuid import uuid4

import pytest

from tests.stores.s3_server import Proxy, run_server

KEY_ID, SECRET = "AKIA0123456789ABCDEF", "a-secret-that-nobody-may-see"
SIGNATURE = f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20300101/us-east-1/s3/aws4_request"


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    with run_server() as port:
        yield port


@pytest.fixture
def s3(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before the server, and an environment with credentials that leads to it."""
    proxy = Proxy(s3_port)
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    yield proxy
    proxy.close()


@pytest.fixture
def bucket(s3: Proxy) -> str:
    """A prefix in a bucket of its own."""
    name = f"bucket-{uuid4().hex}"
    connection = HTTPConnection("127.0.0.1", s3.server_port, timeout=60)
    connection.request("PUT", f"/{name}", headers={"Authorization": SIGNATURE})
    assert connection.getresponse().status == 200
    connection.close()
    return f"s3://{name}/runs/one"
