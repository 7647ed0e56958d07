"""Builds with a store: nothing that was sealed is lost, whatever happens to machine and store."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest
from rich.console import Console

from factory.build.build import build
from factory.core.checksums import digest
from factory.core.errors import RunError, RunLocked, StoreError
from factory.core.files import read_lines
from factory.core.run_dir import RunDir, read_manifest, sample_parts
from factory.judging.reviews import Reviews
from factory.recipe.build import load_recipe
from factory.stores.fetch import fetch_copy, follow_copy
from factory.stores.layout import State, scan
from factory.stores.lock import StoreLock
from factory.stores.mirror import Mirror
from factory.stores.objects import Objects
from factory.view.session import RunSession
from tests.recorded import prompts, recipe_file, record, sample
from tests.stores.conftest import KEY_ID, SECRET
from tests.stores.s3_server import LOST, Answer, Call, Fault, Proxy
from tests.test_build import QUIET, corpus_hash, drawn, everything

N = 4
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recorded") / "run", N)


@pytest.fixture(scope="module")
def built(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build without a store, undisturbed."""
    folder = tmp_path_factory.mktemp("built")
    build(load_recipe(recipe_file(folder, recorded, N)), folder / "run", QUIET)
    return folder / "run"


@pytest.fixture(scope="module")
def first(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of half the samples and its store."""
    folder = tmp_path_factory.mktemp("first")
    build_stored(
        recipe_file(folder, recorded, N), folder / "one", f"file://{folder}/store", "sampling.n=2"
    )
    return folder


@pytest.fixture
def halfway(first: Path, tmp_path: Path) -> str:
    """A copy of `first`: the run `one` and its store, whose address is returned."""
    for name in ("one", "store"):
        shutil.copytree(first / name, tmp_path / name)
    state = tmp_path / "one" / "stored.json"
    state.write_text(state.read_text().replace(str(first), str(tmp_path)))
    return f"file://{tmp_path}/store"


@pytest.fixture
def finished(built: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, which has no store yet."""
    return shutil.copytree(built, tmp_path / "finished")


@pytest.fixture
def recipe(recorded: Path, tmp_path: Path) -> Path:
    return recipe_file(tmp_path, recorded, N)


def build_stored(recipe: Path, run: Path, url: str, *settings: str) -> str:
    """Build with a store. Returns what was said."""
    console = Console(record=True, quiet=False, file=open(os.devnull, "w"), width=500)  # noqa: SIM115
    try:
        build(load_recipe(recipe, [f"store={url}", *settings]), run, console)
    finally:
        console.file.close()
    return console.export_text()


def contents(store: Objects) -> dict[str, str]:
    return {
        name: store.digest(name)
        for name in store.list()
        if not name.startswith(("lock/", "check/"))
    }


def files(run: Path) -> dict[str, str]:
    return {name: digest(run / name) for name in scan(run)}


def test_a_fresh_folder_goes_on_from_the_store(
    recipe: Path, built: Path, halfway: str, tmp_path: Path
) -> None:
    sealed = {part.name: digest(part) for part in sample_parts(tmp_path / "one")}
    assert contents(Objects(halfway)) == files(tmp_path / "one")
    shutil.rmtree(tmp_path / "one")

    said = build_stored(recipe, tmp_path / "two", halfway)
    assert "fetched" in said
    assert f"store {halfway} has the whole run" in said
    found = {part.name: digest(part) for part in sample_parts(tmp_path / "two")}
    assert sealed.items() <= found.items()
    assert drawn(tmp_path / "two") == everything()
    assert corpus_hash(tmp_path / "two") == corpus_hash(built)
    assert contents(Objects(halfway)) == files(tmp_path / "two")

    # A finished run is fetched, not made again; where nothing is missing, nothing is fetched.
    build_stored(recipe, tmp_path / "three", halfway)
    assert files(tmp_path / "three") == files(tmp_path / "two")
    assert build_stored(recipe, tmp_path / "three", halfway) == ""


CHILD = """
import sys, time
from pathlib import Path
from rich.console import Console
from factory.core import journal, run_dir
from factory.recipe.build import load_recipe

journal.SEAL_ROWS = 16
append = run_dir.RunDir.append

def slowly(self, sample):
    time.sleep(float(sys.argv[4]))
    append(self, sample)

run_dir.RunDir.append = slowly

if __name__ == "__main__":
    from factory.build.build import build
    recipe = load_recipe(Path(sys.argv[1]), [f"store={sys.argv[3]}"])
    build(recipe, Path(sys.argv[2]), Console(stderr=True))
"""


def start(script: Path, recipe: Path, run: Path, url: str, pause: float) -> subprocess.Popen[bytes]:
    script.write_text(CHILD)
    command = [sys.executable, str(script), str(recipe), str(run), url, str(pause)]
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE
    )


@pytest.mark.real(group=None)
def test_a_machine_that_is_gone_loses_only_what_was_not_sealed(
    s3: Proxy, bucket: str, recipe: Path, built: Path, tmp_path: Path
) -> None:
    """An S3 run is killed, its disk deleted; it goes on from the store, which is unreliable."""
    calls = count(1)

    def be_unreliable(call: Call) -> Fault:
        number = next(calls)
        if number % 29 == 0:
            return Answer(500, "InternalError")
        return LOST if number % 31 == 0 else 0.05 if number % 7 == 0 else None

    s3.fault = be_unreliable
    store = Objects(bucket)
    machine = start(tmp_path / "child.py", recipe, tmp_path / "gone", bucket, 0.05)
    while sum(name.endswith(".parquet.xxh3") for name in store.list("samples")) < 3:
        assert machine.poll() is None, machine.communicate()
        time.sleep(0.2)
    machine.send_signal(signal.SIGKILL)
    machine.communicate()
    sealed = {name: store.digest(name) for name in store.list("samples")}
    assert len([name for name in sealed if name.endswith(".parquet")]) >= 3
    assert drawn(tmp_path / "gone") != everything()
    shutil.rmtree(tmp_path / "gone")

    fresh = start(tmp_path / "child.py", recipe, tmp_path / "fresh", bucket, 0.0)
    _, said = fresh.communicate()
    assert fresh.returncode == 0, said.decode()
    assert sealed.items() <= files(tmp_path / "fresh").items()
    assert drawn(tmp_path / "fresh") == everything()
    assert corpus_hash(tmp_path / "fresh") == corpus_hash(built)
    assert contents(store) == files(tmp_path / "fresh")
    texts = [file.read_bytes() for file in (tmp_path / "fresh").rglob("*") if file.is_file()]
    texts += [store.read(name) or b"" for name in store.list()]
    for secret in (SECRET.encode(), KEY_ID.encode()):
        assert not any(secret in text for text in (*texts, said))


def test_a_machine_that_is_told_to_stop_loses_nothing(
    recipe: Path, built: Path, tmp_path: Path
) -> None:
    """SIGTERM, as spot machines get before they go: all finished samples are sealed and written."""
    url, run = f"file://{tmp_path}/store", tmp_path / "run"
    machine = start(tmp_path / "child.py", recipe, run, url, 0.05)
    while not Objects(url).list("samples"):
        assert machine.poll() is None, machine.communicate()
        time.sleep(0.2)
    machine.terminate()
    machine.communicate()
    assert drawn(run) != everything()
    assert not list((run / "samples").glob("journal-*"))
    assert contents(Objects(url)) == files(run)


def test_a_store_that_fails_for_good_costs_nothing(
    s3: Proxy, bucket: str, recipe: Path, built: Path, tmp_path: Path
) -> None:
    def refuse_samples(call: Call) -> Fault:
        refused = call.method == "PUT" and "/samples/" in call.path
        return Answer(403, "AccessDenied") if refused else None

    s3.fault = refuse_samples
    with pytest.raises(StoreError, match=r"access is denied.*\n.*are not in the store. The same"):
        build_stored(recipe, tmp_path / "run", bucket)
    assert corpus_hash(tmp_path / "run") == corpus_hash(built)
    s3.fault = lambda call: None
    assert "files were written" in build_stored(recipe, tmp_path / "run", bucket)
    assert contents(Objects(bucket)) == files(tmp_path / "run")
    starts = [
        e for e in read_lines(tmp_path / "run" / "events.jsonl") if e["event"] == "engine_started"
    ]
    assert len(starts) == 1


def test_bytes_that_change_on_their_way_are_noticed(
    recipe: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished run is given a store, which keeps other bytes than it was given, once."""
    url, write, spoilt = f"file://{tmp_path}/store", Objects.write, list[str]()

    def spoil(self: Objects, name: str, data: bytes) -> None:
        if name == "funnel.json" and not spoilt:
            spoilt.append(name)
            data = data[:-1] + b" "
        write(self, name, data)

    monkeypatch.setattr(Objects, "write", spoil)
    build_stored(recipe, finished, url)
    assert spoilt
    assert contents(Objects(url)) == files(finished)


def test_two_builds_cannot_share_a_store(recipe: Path, halfway: str, tmp_path: Path) -> None:
    other = StoreLock(Objects(halfway), exclusive=True)
    other.acquire(print)
    with pytest.raises(RunLocked, match="is in use by process"):
        build_stored(recipe, tmp_path / "run", halfway)
    assert not (tmp_path / "run").exists()
    other.release()


def test_a_build_that_loses_its_store_stops(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"file://{tmp_path}/store"
    monkeypatch.setattr("factory.stores.lock.LEASE_SECONDS", 0.6)
    append = RunDir.append
    taken = list[int]()

    def take_over(self: RunDir, one: object) -> None:
        if not taken:
            taken.append(1)
            Objects(url).write("lock/00000099.json", b'{"pid": 7, "host": "other"}')
            while not (tmp_path / "lost").exists():
                time.sleep(0.05)
        append(self, one)  # type: ignore[arg-type]

    def look(self: StoreLock) -> None:
        found(self)
        if self._lost is not None:
            (tmp_path / "lost").touch()

    found = StoreLock._look
    monkeypatch.setattr(StoreLock, "_look", look)
    monkeypatch.setattr(RunDir, "append", take_over)
    with pytest.raises(RunLocked, match="was taken over by process 7 on host other"):
        build_stored(recipe, tmp_path / "run", url)
    assert not Objects(url).list("samples")
    assert sample_parts(tmp_path / "run")  # what was sampled is kept here


def test_a_bug_in_the_upload_is_no_silence(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Objects(f"file://{tmp_path}/store")
    lock = StoreLock(store, exclusive=True)
    lock.acquire(print)
    mirror = Mirror(finished, store, lock, State(finished, store.url), print)
    monkeypatch.setattr("factory.stores.mirror.scan", lambda run: 1 / 0)
    mirror.start()
    mirror._thread.join()
    with pytest.raises(ZeroDivisionError):
        mirror.check()
    lock.release()


def test_a_store_without_conditional_writes_is_refused_unless_told(
    s3: Proxy, bucket: str, recipe: Path, finished: Path
) -> None:
    def ignore(call: Call) -> Fault:
        call.headers.pop("If-None-Match", None)
        return None

    s3.fault = ignore
    with pytest.raises(StoreError, match=r"ignores conditional writes.*store.lock: false"):
        build_stored(recipe, finished, bucket)
    assert not (finished / "stored.json").exists()
    build_stored(recipe, finished, f"{{url: '{bucket}', lock: false}}")
    assert contents(Objects(bucket)) == files(finished)


def test_a_run_that_went_on_elsewhere(
    recipe: Path, built: Path, halfway: str, tmp_path: Path
) -> None:
    shutil.copytree(tmp_path / "one", tmp_path / "split")
    build_stored(recipe, tmp_path / "elsewhere", halfway)

    # Samples drawn here meanwhile have the number of those drawn elsewhere.
    with RunDir(tmp_path / "split") as run:
        run.append(sample(prompts()[0], 3))
    with pytest.raises(RunError, match=r"went on in two places.*no samples are lost"):
        build_stored(recipe, tmp_path / "split", halfway)

    before = contents(Objects(halfway))
    build_stored(recipe, tmp_path / "one", halfway)
    assert drawn(tmp_path / "one") == everything()
    assert corpus_hash(tmp_path / "one") == corpus_hash(built)
    assert contents(Objects(halfway)) == before


def test_another_run_in_the_store_is_refused(
    recipe: Path, halfway: str, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"has other samples than samples/part-00000\.parquet"):
        build_stored(recipe, finished, halfway)
    with pytest.raises(RunError, match=r"sampling.temperature: 0.7 in the run, 0.9 in the recipe"):
        build_stored(recipe, tmp_path / "three", halfway, "sampling.temperature=0.9")


def test_files_of_others_are_left_alone(recipe: Path, tmp_path: Path) -> None:
    """A prefix without a run, and one that holds other runs: nothing is replaced or deleted."""
    theirs = tmp_path / "theirs"
    for name in ("corpus/mine.parquet", "report.html", "one/run.json"):
        (theirs / name).parent.mkdir(parents=True, exist_ok=True)
        (theirs / name).write_text("precious")
    before = files(theirs)
    with pytest.raises(StoreError, match=r"has no run; it has corpus/mine\.parquet, one/run\.json"):
        build_stored(recipe, tmp_path / "run", theirs.as_uri())
    assert files(theirs) == before


@pytest.mark.parametrize("store", ["run", "run/store", "."])
def test_a_store_is_no_part_of_its_run(recipe: Path, tmp_path: Path, store: str) -> None:
    run = tmp_path / "run"
    with pytest.raises(StoreError, match="are in one another"):
        build_stored(recipe, run, (tmp_path / store).as_uri())
    assert not run.exists() or not list(run.iterdir())


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_damage_in_the_store(recipe: Path, halfway: str, tmp_path: Path) -> None:
    """What can be made again is; damaged samples are named with the remedy."""
    store, half = tmp_path / "store", "sampling.n=2"
    whole = corpus_hash(tmp_path / "one")
    flip(next((store / "corpus").glob("train-*")))
    flip(next((store / "verdicts").glob("*.parquet")))
    build_stored(recipe, tmp_path / "second", halfway, half)
    assert corpus_hash(tmp_path / "second") == whole
    assert contents(Objects(halfway)) == files(tmp_path / "second")

    # As a driver leaves it that is killed while it writes the corpus:
    (store / "corpus.digests.json").unlink()
    build_stored(recipe, tmp_path / "third", halfway, half)
    assert corpus_hash(tmp_path / "third") == whole

    flip(store / "samples" / "part-00000.parquet")
    with pytest.raises(RunError, match=r"part-00000.parquet is damaged.*factory repair"):
        build_stored(recipe, tmp_path / "fourth", halfway, half)


def test_a_copy_to_look_at_follows_the_store(
    recipe: Path, halfway: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_CACHE", str(tmp_path / "cache"))
    with pytest.raises(RunError, match="has no run"):
        fetch_copy(f"file://{tmp_path}/nothing")
    copy = fetch_copy(f"{halfway}/")
    assert copy.name == "store"
    assert files(copy) == files(tmp_path / "one")
    times = {name: (copy / name).stat().st_mtime_ns for name in files(copy)}
    assert times == {name: (fetch_copy(halfway) / name).stat().st_mtime_ns for name in times}
    with pytest.raises(RunError, match="this is a copy of a store"):
        RunSession(copy).reviews()

    # A corpus of fewer shards leaves none of the old ones, neither in the store nor in the copy.
    shards = len(Objects(halfway).list("corpus"))
    monkeypatch.setattr("factory.stores.fetch.FOLLOW_SECONDS", 0.05)
    with follow_copy(halfway, pytest.fail):
        build_stored(recipe, tmp_path / "one", halfway, "sampling.n=2", "corpus.shard_rows=100000")
        while read_manifest(copy) != read_manifest(tmp_path / "one"):  # it is fetched last
            time.sleep(0.05)
    assert files(copy) == files(tmp_path / "one")
    assert len(Objects(halfway).list("corpus")) < shards
    assert contents(Objects(halfway)) == files(tmp_path / "one")


def test_reviews_travel_while_they_are_given(recipe: Path, halfway: str, tmp_path: Path) -> None:
    """A copy of the database is consistent although it is open, and its logs stay here."""
    name = drawn_ids(tmp_path / "one")[0]
    Reviews(tmp_path / "one").decide(name, "ann", "reject", 0, "unreadable")
    connection = sqlite3.connect(tmp_path / "one" / "reviews.sqlite")
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM actions").fetchall()
    Reviews(tmp_path / "one").decide(name, "bob", "reject", 0)  # in the log as long as it is open
    assert (tmp_path / "one" / "reviews.sqlite-wal").stat().st_size
    build_stored(recipe, tmp_path / "one", halfway, "sampling.n=2")
    connection.close()
    stored = [file for file in Objects(halfway).list() if file.startswith("reviews")]
    assert stored == ["reviews.sqlite"]
    build_stored(recipe, tmp_path / "two", halfway, "sampling.n=2")
    standing = Reviews(tmp_path / "two").standing(name)
    assert {who: act.kind for who, act in standing.decisions.items()} == {
        "ann": "reject",
        "bob": "reject",
    }
    assert corpus_hash(tmp_path / "two") == corpus_hash(tmp_path / "one")


def drawn_ids(run: Path) -> list[str]:
    return sorted(f"{prompt}-{index}" for prompt, index in drawn(run))


def test_samples_are_sealed_after_a_while(tmp_path: Path) -> None:
    with RunDir(tmp_path) as run:
        run.seal_seconds = 0.05
        run.append(sample(prompts()[0], 0))
        while not sample_parts(tmp_path):
            time.sleep(0.05)
        run.append(sample(prompts()[0], 1))
    assert len(sample_parts(tmp_path)) == 2


def test_a_missing_bucket_is_one_line_before_any_sampling(
    s3: Proxy, recipe: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "factory.cli", "build", str(recipe), "--set"]
    command += ["store=s3://no-such-bucket/run", "--run", str(tmp_path / "run"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 5
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert "store s3://no-such-bucket/run: the bucket does not exist. Create it" in lines[0]
    assert not (tmp_path / "run").exists()
    assert SECRET not in done.stderr
