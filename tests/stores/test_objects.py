"""Objects of a store: the same on every store, and every failure a message with a remedy."""

from __future__ import annotations

from functools import partial
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest

from factory.core.checksums import digest
from factory.core.errors import MissingDependency, StoreError
from factory.stores.objects import Objects
from factory.stores.problems import hide_secrets
from tests.stores.conftest import KEY_ID, SECRET
from tests.stores.s3_server import LOST, Answer, Call, Fault, Proxy


@pytest.fixture(params=["s3", "file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    urls = {"file": f"file://{tmp_path}/store", "memory": f"memory://{uuid4().hex}/store"}
    if request.param == "s3":
        return Objects(request.getfixturevalue("bucket"))
    return Objects(urls[request.param])


def test_an_object_is_written_listed_read_and_deleted(store: Objects, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345" * 99)
    assert store.list() == {}
    store.write("a/one", b"1")
    store.write("a/one", b"22")
    store.write_file("b", file)
    assert {name: one.size for name, one in store.list().items()} == {"a/one": 2, "b": 495}
    assert list(store.list("a")) == ["a/one"]
    assert store.list("none") == {}
    assert store.read("a/one") == b"22"
    assert store.read("a/two") is None
    assert store.digest("b") == digest(file)
    store.download("b", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    store.delete("b")
    store.delete("b")
    assert list(store.list()) == ["a/one"]


def test_a_name_is_created_once(store: Objects) -> None:
    assert store.create("lock", b"mine")
    assert not store.create("lock", b"yours")
    assert store.create("lock", b"mine")  # as a repeated request is: it is ours
    assert store.read("lock") == b"mine"


def test_a_usable_store_is_left_as_it_was(store: Objects) -> None:
    store.refuse_unusable()
    assert store.has_conditional_writes()
    assert store.list() == {}


def test_a_changed_object_has_another_token(store: Objects) -> None:
    store.write("one", b"1")
    first = store.list()["one"].token
    assert first
    assert store.list()["one"].token == first
    store.write("one", b"2")
    assert store.list()["one"].token != first


def strip_conditions(call: Call) -> Fault:
    call.headers.pop("If-None-Match", None)
    return None


def refuse_conditions(call: Call) -> Fault:
    return Answer(501, "NotImplemented") if "If-None-Match" in call.headers else None


def test_an_old_store_is_found_out(s3: Proxy, bucket: str) -> None:
    store = Objects(bucket)
    for s3.fault in (strip_conditions, refuse_conditions):
        store.refuse_unusable()
        assert not store.has_conditional_writes()
        assert store.list() == {}


def test_lost_answers_and_errors_that_pass_are_tried_again(s3: Proxy, bucket: str) -> None:
    calls = count()
    s3.fault = lambda call: [LOST, Answer(500, "InternalError"), None][next(calls) % 3]
    store = Objects(bucket)
    assert store.create("lock", b"mine")
    assert not store.create("lock", b"yours")
    store.write("one", b"1")
    assert store.read("one") == b"1"
    assert set(store.list()) == {"lock", "one"}
    assert store.has_conditional_writes()


REFUSALS = [
    (Answer(403, "AccessDenied"), "access is denied", "s3:PutObject", False),
    (Answer(403, "InvalidAccessKeyId"), "credentials are unknown", "AWS_ACCESS_KEY_ID", False),
    (Answer(403, "SignatureDoesNotMatch"), "credentials are unknown", "AWS_PROFILE", False),
    (Answer(400, "ExpiredToken"), "have expired", "AWS_ACCESS_KEY_ID", False),
    (Answer(400, "AuthorizationHeaderMalformed"), "another region", "AWS_DEFAULT_REGION", False),
    (Answer(403, "RequestTimeTooSkewed"), "clock", "Set the clock", False),
    (Answer(503, "ServiceUnavailable"), "the store fails", "Try again later", True),
    (Answer(418, "Unheard"), "the store refuses", "`store`", False),
]


def test_a_refusal_names_store_problem_and_remedy(s3: Proxy, bucket: str) -> None:
    store = Objects(bucket)
    for answer, what, remedy, passing in REFUSALS:
        s3.fault = partial(lambda call, answer: answer, answer=answer)
        with pytest.raises(StoreError) as caught:
            store.refuse_unusable()
        message = str(caught.value)
        assert message.startswith(f"store {bucket}: ")
        assert what in message
        assert remedy in message
        assert caught.value.passing == passing
        assert SECRET not in message
        assert KEY_ID not in message


def test_a_bucket_that_does_not_exist(s3: Proxy) -> None:
    store = Objects("s3://no-such-bucket/a")
    for action in (store.refuse_unusable, store.list, partial(store.read, "run.json")):
        with pytest.raises(StoreError, match=r"the bucket does not exist\. Create it"):
            action()


def test_no_network(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.ports import free_ports

    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(StoreError, match=r"cannot be reached\. Check the network") as caught:
        Objects(bucket).refuse_unusable()
    assert caught.value.passing


def test_no_credentials(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError, match=r"there are no credentials\. Give valid ones"):
        Objects(bucket).refuse_unusable()


def test_a_folder_that_cannot_be_written() -> None:
    with pytest.raises(StoreError, match="file:///proc/none"):
        Objects("file:///proc/none").refuse_unusable()


def test_a_package_that_is_not_installed() -> None:
    with pytest.raises(MissingDependency, match=r"r1-factory\[gs\]"):
        Objects("gs://bucket/prefix")


def test_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_ACCESS_KEY", "hush-hush")
    text = hide_secrets("hush-hush at https://a/b?X-Signature=123 by AKIAABCDEFGHIJKLMNOP")
    assert text == "… at https://a/b?… by …"


def test_a_store_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    import fsspec

    url = f"memory://{uuid4().hex}"
    root = f"/{url.removeprefix('memory://')}"
    for name in ("run.json", "samples/../../../x", "a\\b"):
        fsspec.filesystem("memory").store[f"{root}/{name}"] = (
            fsspec.implementations.memory.MemoryFile(
                fsspec.filesystem("memory"), f"{root}/{name}", b"1"
            )
        )
    assert set(Objects(url).list()) == {"run.json"}
