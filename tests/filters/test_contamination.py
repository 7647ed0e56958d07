from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from factory.core.errors import SourceError
from filters.contamination import Contamination, EvaluationSet
from filters.ngrams import Index, normalize

FARM = (
    "A farmer owns 17 sheep and sells three goats for each cow that his neighbour bought last year."
)
AREA = r"Find the area of the region where $\frac{1}{2} x\,y \le \pi r^{2}$ and $x + y > 1{,}000$."
TINY = "What is 12 times 12?"
CHINESE = "求函数 $f(x)=x^2+3x+1$ 在区间 $[0,3]$ 上的最大值与最小值之和。"

SAME = [
    (r"x\,y", "xy"),
    ("x y", "$xy$"),
    (r"\frac{1}{2}", r"\frac12"),
    (r"\dfrac{1} {2}", r"\frac{1}{2}"),
    ("1,000 apples", "1000 apples"),
    (r"1{,}000", "1000"),
    ("x^2", "x²"),
    ("x_{12}", "x₁₂"),
    (r"\pi r", "πr"),
    (r"\varepsilon", r"\epsilon"),
    (r"\alpha + \beta", "α+β"),
    (r"a \cdot b", "a × b"),
    (r"\left( 3 \right)", "(3)"),
    (r"a \leq b", "a ≤ b"),
    (r"\text{Find } x", "find $x$"),
    (r"\sqrt{2}", "√2"),
    ("Find\n\n  it", "**find** it."),
    (r"\begin{align*} x \end{align*}", "x"),
    ("ＡＢＣ１２", "abc12"),
    ("ΛΟΓΟΣ", "λογος"),  # a final sigma is a sigma
    ("\u0345", "iota"),
]
DIFFERENT = [("12", "13"), ("sin x", "cos x"), ("a b", "a c"), (r"\sqrt{2}", "2"), ("cat", "cats")]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_typesetting_makes_no_difference(left, right):
    assert normalize(left) == normalize(right)


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_content_does(left, right):
    assert normalize(left) != normalize(right)


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    assert normalize(normalize(text)) == normalize(text)


INDEX = Index.build({"farm": [FARM, TINY], "area": [AREA, CHINESE, ""]})

CASES = [
    # prompt, the set it is found in
    (FARM, "farm"),
    ("Solve: " + FARM.upper() + " Put the answer in a box.", "farm"),
    (FARM.replace("17", "18"), "farm"),  # ten words after the number still match
    ("A farmer owns 17 sheep and sells three goats.", None),  # nine words
    ("A farmer owns 17 sheep and sells three goats for money.", "farm"),  # ten
    ("Sheep own a farmer and goats sell three cows for each neighbour of 17.", None),
    (r"find the area of the region where \(\dfrac12xy≤πr²\) and x+y>1000", "area"),
    ("Find the area of the region where the sun never sets.", None),
    (TINY, "farm"),
    ("what is 12 \\times times 12", "farm"),
    ("Tell me: what is 12 times 12?", None),  # a short text matches only a whole prompt
    ("What is 12 times 13?", None),
    ("求函数f(x) = x² + 3x + 1在区间[0, 3]上的最大值与最小值之和", "area"),
    ("求函数的最大值", None),
    ("", None),
    (None, None),
    ("$$ + $$", None),
]


@pytest.mark.parametrize(("prompt", "expected"), CASES)
def test_found_in(prompt, expected):
    assert INDEX.find(pl.Series([prompt], dtype=pl.String))["set"].to_list() == [expected]


def test_a_hit_shows_the_words():
    (hit,) = INDEX.find(pl.Series(["Solve. " + FARM + " Thanks."])).to_dicts()
    assert hit["matched"] == normalize(FARM)
    assert hit["share"] == pytest.approx(9 / 11)


def test_texts_are_not_in_the_file(tmp_path):
    INDEX.save(tmp_path / "hashes.npz")
    loaded = Index.load(tmp_path / "hashes.npz")
    assert (loaded.n, loaded.names) == (INDEX.n, INDEX.names)
    assert loaded.find(pl.Series([FARM, AREA]))["set"].to_list() == ["farm", "area"]
    assert b"farmer" not in (tmp_path / "hashes.npz").read_bytes()


def test_boilerplate_identifies_nothing():
    opening = "Find the number of ordered pairs of positive integers such that their "
    sets = {"s": [opening + ending for ending in ("sum is odd", "gcd is 5", "lcm is 80")]}
    prompt = pl.Series([opening + "difference is prime"])
    assert Index.build(sets).find(prompt)["set"].to_list() == ["s"]
    assert Index.build(sets, boilerplate=2).find(prompt)["set"].to_list() == [None]
    repeated = {"s": [opening + "sum is odd"] * 5}  # one text, however often it is there
    assert Index.build(repeated, boilerplate=2).find(prompt)["set"].to_list() == ["s"]


def test_merging_keeps_names_apart():
    merged = Index.merge([Index.build({"a": [FARM]}), Index.build({"b": [AREA], "a": [TINY]})])
    assert merged.find(pl.Series([FARM, AREA, TINY]))["set"].to_list() == ["a", "b", "a"]
    with pytest.raises(SourceError, match="different n-gram sizes"):
        Index.merge([INDEX, Index.build({}, 8)])


@given(
    texts=st.lists(st.lists(st.sampled_from("abcd"), max_size=14), max_size=5),
    prompt=st.lists(st.sampled_from("abcd"), max_size=14),
)
def test_the_share_is_what_sets_count(texts, prompt):
    def grams(letters):
        words = [f"{letter}{letter}" for letter in letters]
        size = min(5, len(words))
        return [tuple(words[k : k + size]) for k in range(len(words) - size + 1)] if words else []

    index = Index.build({"s": (" ".join(letter * 2 for letter in text) for text in texts)}, 5)
    known = {gram for text in texts for gram in grams(text)}
    mine = grams(prompt)
    expected = sum(gram in known for gram in mine) / len(mine) if mine else 0.0
    found = index.find(pl.Series([" ".join(letter * 2 for letter in prompt)]))["share"][0]
    assert found == pytest.approx(expected)


@pytest.fixture
def sets(tmp_path):
    (tmp_path / "lines.txt").write_text(f"{FARM}\n\n{TINY}\n", "utf-8")
    rows = [{"id": 1, "problem": AREA}, {"id": 2, "problem": CHINESE}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    pl.DataFrame({"q": [FARM, None, AREA]}).write_parquet(tmp_path / "table.parquet")
    INDEX.save(tmp_path / "hashes.npz")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "prompts"),
    [
        ("lines.txt", [FARM, TINY]),
        ("rows.jsonl", [AREA, CHINESE]),
        ({"path": "table.parquet", "column": "q"}, [FARM, AREA]),
        ("hashes.npz", [FARM, AREA, TINY, CHINESE]),
    ],
)
def test_sets_are_read_from_files(reasons, rows, sets, monkeypatch, source, prompts):
    monkeypatch.chdir(sets)
    judge = Contamination(against=(EvaluationSet.model_validate(source),))
    found = reasons(judge, rows(["x"] * (len(prompts) + 1), question=[*prompts, "Hello there"]))
    assert found == ["contaminated"] * len(prompts) + [None]


def test_a_share_may_be_allowed(reason, sets):
    source = EvaluationSet(path=sets / "lines.txt")
    prompt = FARM + " " + "Now something that is in no evaluation set at all. " * 5
    assert reason(Contamination(against=(source,)), "x", question=prompt) == "contaminated"
    judge = Contamination(against=(source,), max_share=0.5)
    assert reason(judge, "x", question=prompt) is None
    assert reason(judge, "x", question=FARM) == "contaminated"


def test_without_sets_nothing_is_contaminated(reason):
    assert reason(Contamination(), "x", question=FARM) is None


def test_the_cache_key_follows_the_file(sets):
    judge = Contamination(against=(EvaluationSet(path=sets / "lines.txt"),))
    before = judge.cache_key()
    assert Contamination(against=judge.against, max_share=0.5).cache_key() == before
    (sets / "lines.txt").write_text(AREA)
    assert judge.cache_key() != before
    assert judge.index().find(pl.Series([AREA]))["set"].to_list() == ["lines"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.jsonl", "cannot read"),
        ("rows.jsonl", "no column question; it has id, problem"),
        ("table.parquet", "no column question; it has q"),
        ("broken.jsonl", "broken.jsonl:1: not a JSON object"),
        ("broken.parquet", "not a Parquet file"),
        ("broken.npz", "not a file of evaluation hashes"),
        ("hashes.npz", "has hashes of 10-grams, not 13-grams"),
    ],
)
def test_unreadable_sets_are_named(sets, source, message):
    for ending in ("jsonl", "parquet", "npz"):
        (sets / f"broken.{ending}").write_text("no")
    column = None if source == "none.jsonl" else "question"
    given_set = EvaluationSet(path=sets / source, column=column)
    with pytest.raises(SourceError, match=message):
        Contamination(against=(given_set,), ngram=13).index()


@pytest.mark.parametrize("fields", [{}, {"path": "a.txt", "hub": "b/c"}, {"path": "a.csv"}])
def test_a_set_is_one_thing(fields):
    with pytest.raises(ValidationError):
        EvaluationSet(**fields)


def test_a_plain_string_is_a_file_or_a_hub_id():
    assert EvaluationSet.model_validate("sets/a.jsonl").title == "a"
    assert EvaluationSet.model_validate("owner/name").hub == "owner/name"


def test_bad_input(bad_text):
    assert INDEX.find(pl.Series([bad_text], dtype=pl.String))["share"].to_list() == [0.0]
