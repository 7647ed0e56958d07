"""The page for Prometheus, read by Prometheus' own client."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from factory.core.files import append_line
from factory.watch.metrics_page import MetricsServer, format_page
from factory.watch.readings import Readings
from tests.ports import free_ports

LABELS = {"run": 'a "quoted\\ name', "kind": "build"}


def page(run: Path) -> str:
    readings = Readings(run)
    readings.poll()
    return format_page(LABELS, "running", readings)


def test_the_page_is_what_prometheus_reads(tmp_path: Path) -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="comes with vLLM")
    worker = {"name": "http://a:1/v1", "up": True, "in_flight": 3, "samples": 9, "tokens": 90}
    worker |= {"limit": 8, "seconds": 2.0, "faults": {"timeout": 2, "500": 1}}
    for event in (
        {"event": "engine_started", "at": 5.0},
        {"event": "workers", "workers": [worker], "at": 6.0},
        {"event": "throughput", "samples": 9, "tokens": 90, "judged": 8, "accepted": 4}
        | {"occupancy": 0.5, "seconds": 3.0, "at": 7.5},
    ):
        append_line(tmp_path / "events.jsonl", event)
    families = list(parser.text_string_to_metric_families(page(tmp_path)))
    found = {
        (sample.name, sample.labels.get("worker")): sample.value
        for family in families
        for sample in family.samples
    }
    assert all(family.documentation for family in families)
    assert {label["run"] for f in families for s in f.samples for label in [s.labels]} == {
        LABELS["run"]
    }
    assert found["factory_samples_total", None] == 9
    assert found["factory_accepted_total", None] == 4
    assert found["factory_acceptance", None] == 0.5
    assert found["factory_tokens_per_second", None] == 30
    assert found["factory_last_event_timestamp_seconds", None] == 7.5
    assert found["factory_worker_up", "http://a:1/v1"] == 1
    assert found["factory_worker_faults", "http://a:1/v1"] == 3
    kinds = {family.name: family.type for family in families}
    assert kinds["factory_samples"] == "counter"
    assert kinds["factory_occupancy"] == "gauge"


def test_the_numbers_of_a_training_keep_their_names(tmp_path: Path) -> None:
    append_line(tmp_path / "log.jsonl", {"step": 3, "loss": 0.25, "rewards/accuracy/mean": 1.0})
    text = page(tmp_path)
    assert 'metric="rewards/accuracy/mean"} 1\n' in text
    assert "factory_training_step{" in text
    assert "factory_samples_total" not in text


def test_the_page_is_served_on_loopback_and_its_port_is_freed() -> None:
    (port,) = free_ports(1)
    for _ in range(2):
        server = MetricsServer(port, lambda: "factory_state 1\n")
        try:
            assert server.address == ("127.0.0.1", port)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                assert answer.read() == b"factory_state 1\n"
                assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/")
            with pytest.raises(OSError, match="in use"):
                MetricsServer(port, str)
        finally:
            server.close()
