"""The app's responses to requests as a browser sends them."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from starlette.testclient import TestClient

from factory.core.errors import RecipeError, RunError
from factory.judging.review_verdicts import summarize_reviews
from factory.report.snapshot import take_snapshot
from factory.view.app import create_app, serve, serve_in_background
from factory.view.auth import is_loopback
from factory.view.session import FRESH_SECONDS
from tests.report.runs import FILTERS, HOSTILE, held, judged_run, prompts, sampled_run, text_of

LOCAL = "http://127.0.0.1"
BOX = ("box.example",)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    filters = {**FILTERS, "correctness": {}}
    return judged_run(tmp_path_factory.mktemp("app") / "run", filters=filters)


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "run"
    shutil.copytree(whole, copy)
    return copy


@pytest.fixture
def client(run: Path) -> Iterator[TestClient]:
    with TestClient(create_app(run), base_url=LOCAL) as found:
        yield found


def a_sample(run: Path, decision: str = "keep") -> str:
    samples = take_snapshot(run).samples.filter(pl.col("decision") == decision)
    return str(samples.sort("sample_id")["sample_id"][0])


PAGES = [
    *("/", "/live", "/samples", "/thresholds"),
    "/samples?text=First&sort=-n_tokens&min_pass=x&skip=1",
    f"/samples?min_tokens={10**30}&max_pass=nan&page=-{10**30}&skip=-1",
    f"/samples?page={10**30}&text=First",
]


@pytest.mark.parametrize("path", PAGES)
def test_pages_open_and_escape_all_markup(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    text = answer.json()["html"] if path == "/live" else answer.text
    for hostile in ("<b>odd</b>", 'onerror="', "<svg onload", "<script>document"):
        assert hostile not in text
    assert "'unsafe" not in answer.headers["content-security-policy"]


def test_a_sample_has_its_metrics_and_its_siblings(client: TestClient, run: Path) -> None:
    sample_id = a_sample(run, "drop")
    page = client.get(f"/samples/{sample_id}").text
    prompt_id = sample_id.rpartition("-")[0]
    assert all(f"{prompt_id}-{index}" in page for index in range(4))
    assert "length_characters" in page
    assert "at most 100" in page
    assert "✗" in page


def test_an_unknown_page_is_an_error_with_a_message(client: TestClient) -> None:
    answer = client.get("/<b>nowhere")
    assert answer.status_code == 404
    assert "there is no page /&lt;b&gt;nowhere" in answer.text


@pytest.mark.parametrize("path", ["/samples/none-0", "/review/none-0", "/samples/%3Cscript%3E"])
def test_an_unknown_sample_is_an_error_with_a_message(client: TestClient, path: str) -> None:
    client.cookies.set("factory_reviewer", "ann")
    answer = client.get(path)
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")
    assert "has no sample" in answer.text
    assert "<script>" not in answer.text


def test_the_funnel_follows_a_threshold(client: TestClient) -> None:
    as_it_is = client.post("/api/funnel", json={}).json()
    tighter = client.post("/api/funnel", json={"length": {"max_tokens": 45}}).json()
    kept = [
        next(row["samples"] for row in found["rows"] if row["stage"] == "kept")
        for found in (as_it_is, tighter)
    ]
    assert kept == [7, 6]  # an answer with hostile text after it is none
    drawn = tighter["specs"]["funnel-0"]["data"]["values"]
    assert [row["label"] for row in drawn if row["step"] in ("drawn", "kept")] == [
        "24",
        "6 · 25.0%",
    ]
    assert "too_long" in tighter["table"]


@pytest.mark.parametrize("body", ["[]", "nonsense", '{"length": 3}', '{"length": {"x": 1}}'])
def test_a_bad_request_is_explained(client: TestClient, body: str) -> None:
    answer = client.post("/api/funnel", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"]


class TestReview:
    """Accepting, rejecting and editing."""

    @pytest.fixture(autouse=True)
    def _introduced(self, client: TestClient) -> None:
        assert client.post("/api/reviewer", json={"name": "Ann Ö; x"}).status_code == 200

    def act(self, client: TestClient, sample: str, verb: str, **body: Any) -> Any:
        return client.post(f"/api/review/{sample}/{verb}", json=body)

    def test_the_queue_leads_from_one_sample_to_the_next(
        self, client: TestClient, run: Path
    ) -> None:
        first = client.get("/review")
        sample = first.url.path.rpartition("/")[2]
        assert "Ann Ö; x" in first.text
        assert self.act(client, sample, "decide", choice="accept", base=0).json()["saved"]
        assert client.get("/review").url.path.rpartition("/")[2] != sample
        assert summarize_reviews(run).select("sample_id", "decision", "reviewers").rows() == [
            (sample, "keep", ["Ann Ö; x"])
        ]

    def test_an_edit_that_breaks_the_answer_is_flagged(self, client: TestClient, run: Path) -> None:
        sample = a_sample(run)
        wrong = {"thinking": "I add the two numbers.", "response": "It is \\boxed{-99}.", "base": 0}
        answer = self.act(client, sample, "edit", **wrong).json()
        assert answer["saved"] is False
        assert answer["flags"] == ["correctness: wrong"]
        assert summarize_reviews(run).is_empty()
        insisted = self.act(client, sample, "edit", **wrong, insist=True).json()
        assert insisted["saved"]
        self.act(client, sample, "decide", choice="accept", base=insisted["version"])
        assert summarize_reviews(run)["flags"].to_list() == [["correctness: wrong"]]

    def test_a_sound_edit_is_saved(self, client: TestClient, run: Path) -> None:
        sample = a_sample(run)
        prompt = next(p for p in prompts() if sample.startswith(p.id))
        assert prompt.verifier is not None
        good = f"So the answer is \\boxed{{{prompt.verifier['answer']}}}."
        answer = self.act(client, sample, "edit", thinking="I add.", response=good, base=0).json()
        assert (answer["saved"], answer["flags"], answer["skipped"]) == (True, [], {})
        assert good.split("\\boxed")[0] in client.get(f"/review/{sample}").text

    def test_two_reviewers_do_not_overwrite_each_other(self, client: TestClient, run: Path) -> None:
        sample = a_sample(run)
        good = {"thinking": "I add.", "response": text_of(prompts()[0], 0), "insist": True}
        assert self.act(client, sample, "edit", **good, base=0).json()["saved"]
        client.post("/api/reviewer", json={"name": "bob"})
        late = self.act(client, sample, "edit", **good, base=0)
        assert late.status_code == 409
        assert "Ann Ö; x has edited" in late.json()["error"]

    @pytest.mark.parametrize(
        ("verb", "body"),
        [
            ("decide", {"choice": "maybe", "base": 0}),
            ("decide", {"choice": "reject", "base": 0}),  # without a reason
            ("decide", {"choice": "accept"}),  # without the text's version
            ("edit", {"thinking": 3, "response": "x", "base": 0}),
            ("edit", {"thinking": "x", "base": 0}),
        ],
    )
    def test_an_incomplete_action_is_refused(
        self, client: TestClient, run: Path, verb: str, body: dict[str, Any]
    ) -> None:
        assert self.act(client, a_sample(run), verb, **body).status_code == 422
        assert summarize_reviews(run).is_empty()

    def test_a_hostile_edit_is_escaped(self, client: TestClient, run: Path) -> None:
        sample = a_sample(run)
        self.act(client, sample, "edit", thinking=HOSTILE, response=HOSTILE, base=0, insist=True)
        page = client.get(f"/review/{sample}").text
        assert "<script>document" not in page
        assert page.count("</textarea>") == 2


def test_nobody_reviews_without_a_name(client: TestClient, run: Path) -> None:
    answer = client.post(
        f"/api/review/{a_sample(run)}/decide", json={"choice": "accept", "base": 0}
    )
    assert answer.status_code == 422
    assert "give your name" in answer.json()["error"]


def test_a_running_run_shows_its_newest_samples_judged(tmp_path: Path) -> None:
    run = sampled_run(tmp_path / "run")
    with held(run), TestClient(create_app(run), base_url=LOCAL) as client:
        now = client.get("/live").json()
    assert now["state"] == "running"
    assert "24 of 24" in now["html"]
    assert 'class="drop">drop: mixed_script' in now["html"]
    assert 'class="keep"' in now["html"]


class TestGuard:
    """Access control."""

    @pytest.mark.parametrize(
        ("host", "status"),
        [
            ("127.0.0.1:8765", 200),
            ("localhost", 200),
            ("[::1]:8765", 200),
            ("127.9.9.9", 200),
            ("evil.example", 403),
            ("127.0.0.1.evil.example", 403),
            ("", 403),
        ],
    )
    def test_without_a_token_only_this_machine_is_answered(
        self, run: Path, host: str, status: int
    ) -> None:
        with TestClient(create_app(run), base_url=LOCAL) as client:
            assert client.get("/samples", headers={"host": host}).status_code == status

    @pytest.mark.parametrize("token", [None, "s3cret"])
    @pytest.mark.parametrize(
        ("served", "host", "status"),
        [
            ("192.168.1.2", "192.168.1.2:8765", 200),
            ("192.168.1.2", "192.168.1.3", 403),
            ("192.168.1.2", "localhost", 200),
            ("0.0.0.0", "10.1.2.3:80", 200),  # only a name can be rebound
            ("0.0.0.0", "[fe80::1]", 200),
            ("0.0.0.0", "evil.example", 403),
            ("0.0.0.0", socket.gethostname(), 200),
            ("Proxy.example", "proxy.EXAMPLE.:443", 200),
            ("proxy.example", "proxy.example.evil.example", 403),
            ("proxy.example", "proxy.example/evil", 403),
            ("proxy.example", "proxy.example:evil", 403),
            ("proxy.example", "user@proxy.example", 403),
        ],
    )
    def test_only_the_hosts_that_are_served_are_answered(
        self, run: Path, served: str, host: str, status: int, token: str | None
    ) -> None:
        """A name of another site can be made to resolve to this server; no token helps it."""
        bearer = {"authorization": f"Bearer {token}", "host": host}
        with TestClient(create_app(run, token, (served,)), base_url=LOCAL) as client:
            assert client.get("/samples", headers=bearer).status_code == status

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
    def test_a_form_of_another_site_is_rejected(
        self, client: TestClient, run: Path, kind: str
    ) -> None:
        body = json.dumps({"name": "eve"})
        answer = client.post("/api/reviewer", content=body, headers={"content-type": kind})
        assert answer.status_code == 415

    @pytest.mark.parametrize(
        ("site", "status"),
        [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)],
    )
    def test_a_page_of_another_site_is_rejected(
        self, client: TestClient, site: str, status: int
    ) -> None:
        """`same-site` includes pages that another program serves from this machine."""
        answer = client.post(
            "/api/reviewer", json={"name": "eve"}, headers={"sec-fetch-site": site}
        )
        assert answer.status_code == status

    @pytest.mark.parametrize("token", ["s3cret", "two words; ö", "a/b+c=&%20"])
    def test_any_token_gets_in(self, run: Path, token: str) -> None:
        with TestClient(create_app(run, token, BOX), base_url="http://box.example") as client:
            assert client.get("/samples", params={"token": token}).url.query == b""
            assert client.get("/samples").status_code == 200

    def test_an_empty_token_counts_as_no_token(self, run: Path) -> None:
        with TestClient(create_app(run, ""), base_url="http://box.example") as client:
            assert client.get("/").status_code == 403
        with pytest.raises(RecipeError, match="--no-token"):
            serve(run, host="0.0.0.0", token="")

    def test_a_token_is_asked_for_and_becomes_a_cookie(self, run: Path) -> None:
        with TestClient(create_app(run, "s3cret", BOX), base_url="http://box.example") as client:
            assert client.get("/").status_code == 401
            assert client.get("/?token=wrong").status_code == 401
            assert client.post("/?token=s3cret", json={}).status_code == 401
            bearer = {"authorization": "Bearer s3cret"}
            assert client.get("/live", headers=bearer).status_code == 200
            entered = client.get("/samples?token=s3cret&source=sums", follow_redirects=False)
            assert entered.status_code == 303
            assert entered.headers["location"] == "/samples?source=sums"
            cookie = entered.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert client.get("/").status_code == 200

    def test_the_token_redirect_stays_on_this_site(self, run: Path) -> None:
        with TestClient(create_app(run, "s3cret", BOX), base_url="http://box.example") as client:
            entered = client.get(
                "http://box.example//evil.example/?token=s3cret", follow_redirects=False
            )
            assert entered.headers["location"] == "/evil.example/"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.9.9.9", True),
     ("0.0.0.0", False), ("::", False), ("192.168.1.2", False), ("box.example", False)],
)  # fmt: skip
def test_loopback_addresses_are_recognized(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_serving_to_other_machines_needs_a_token(run: Path) -> None:
    with pytest.raises(RecipeError, match="--no-token"):
        serve(run, host="0.0.0.0")


def test_a_port_in_use_is_an_error_with_a_message(run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        with pytest.raises(RecipeError, match=f"--port {port} cannot be used"):
            serve(run, port=port)


def test_a_run_is_served_while_it_is_made(tmp_path: Path) -> None:
    with serve_in_background(tmp_path / "run", port=0) as address:
        early = httpx.get(f"{address}/live").json()
        sampled_run(tmp_path / "run")
        with held(tmp_path / "run"):
            time.sleep(FRESH_SECONDS + 0.1)
            later = httpx.get(f"{address}/live").json()
    assert (early["state"], later["state"]) == ("unknown", "running")
    assert "24 of 24" in later["html"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


def test_a_watched_build_uses_another_port_where_the_default_is_in_use(tmp_path: Path) -> None:
    with (
        serve_in_background(tmp_path / "a", port=None) as one,
        serve_in_background(tmp_path / "b", port=None) as other,
    ):
        assert one != other
        assert httpx.get(other).status_code == 200


def test_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        create_app(tmp_path / "nowhere")


@pytest.mark.parametrize("command", ["view", "review"])
def test_the_commands_print_a_link_with_a_new_token(run: Path, command: str) -> None:
    """Another user of the machine gets nothing; what the server prints later has no token."""
    found: list[str] = []
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-m", "factory.cli", command, str(run), "--port", "0"],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        try:
            link = process.stderr.readline().split()[0]
            address, _, token = link.partition("?token=")
            assert len(token) >= 32
            assert get_soon(address).status_code == 401
            with httpx.Client(follow_redirects=True) as visitor:
                assert visitor.get(link).status_code == 200
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=60)[1]
        assert token not in rest
        found.append(token)
    assert found[0] != found[1]


def get_soon(address: str) -> httpx.Response:
    """The address is printed a moment before the server accepts connections."""
    for _ in range(300):
        with suppress(httpx.TransportError):
            return httpx.get(address)
        time.sleep(0.1)
    raise AssertionError(f"{address} does not answer")
