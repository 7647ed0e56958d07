"""Every word of a text has a language: terse texts, hiding places, what is no mixture, figures.

The lines here were not used to make a rule, but for the development set, which says so.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.core.think import split_think
from filters.language import Language, language_consistency
from filters.language_id import tables
from filters.language_id.mixing import mixing
from filters.language_id.prompt_language import detect_language
from filters.language_id.readings import group_and_column
from filters.language_id.scripts import SCRIPT_OF_LANGUAGE
from filters.language_id.targets import target_languages

DEVELOPMENT = Path(__file__).parents[1] / "data" / "language.jsonl"
SCHEMA = dict.fromkeys(("sample_id", "language", "question", "thinking", "response"), pl.String)


def judged(language: str, thinking: str, question: str = "", response: str = "") -> dict:  # type: ignore[type-arg]
    row = {
        "sample_id": "a-0",
        "language": language,
        "question": question,
        "thinking": thinking,
        "response": response,
    }
    metrics = Language().measure(pl.DataFrame([row], schema=SCHEMA))
    reason = Language().decide(metrics)["reason"].item()
    return {**metrics.row(0, named=True), "reason": reason}


def lines(pattern: str, count: int = 15) -> str:
    return "\n".join(pattern.format(n) for n in range(count))


TERSE = {
    "German under English": ("en", lines("Die Summe ist {}.")),
    "Spanish words under English": (
        "en",
        "Sumamos.\nDividimos.\nListo.\nEntonces.\nResultado.\n" * 3,
    ),
    "English under Chinese": ("zh", lines("The sum is {}.")),
    "English under Arabic": ("ar", lines("The sum is {}.")),
    "English under German": ("de", lines("The sum is {}.")),
    "German without points": ("en", lines("Die Summe ist {}")),
    "one line": ("en", "Also teilen wir durch 3."),
    "English words under Korean": ("ko", "Total: 5.\nDone."),
    "French under Italian": ("it", "On ajoute 3 et 4.\nCela fait 7."),
    "Portuguese under Spanish": ("es", "Some 3 e 4.\nIsso faz 7.\nNão sobra nada."),
    "Ukrainian under Russian": ("ru", "Додаємо 3 і 4.\nМаємо 7.\nЦе відповідь."),
    "Chinese under Japanese": ("ja", "我们先把这两个数相加。\n得到七。"),
    "Japanese under Chinese": ("zh", "まず足します。\n答えは七です。"),
}


@pytest.mark.parametrize("name", TERSE)
def test_a_terse_text_in_another_language_is_wrong(name: str) -> None:
    row = judged(*TERSE[name])
    assert row["reason"] == "wrong_language", row
    assert row["language_consistency"] <= 0.1


GERMAN = "zuerst addieren wir die beiden Zahlen und dann teilen wir sie durch drei"
HIDDEN = {
    "a code fence": f"So we go on.\n```\n{GERMAN}\n{GERMAN}\n```\n",
    "comments": f"So we go on.\n```python\n# {GERMAN}\n# {GERMAN}\nx = 1\n```\n",
    "comments of C": f"So we go on.\n```c\n// {GERMAN}\n/* {GERMAN} */\nint x = 1;\n```\n",
    "inline code": f"So we see `{GERMAN}` here.",
    "formulas": rf"So we go on. $\text{{{GERMAN}}}$ \[ \mbox{{{GERMAN}}} \]",
    "quotations": '"Wir addieren die Zahlen" "und dann teilen wir" "das ist alles" holds.',
    "a table": "| Schritt | was wir machen |\n|---|---|\n| eins | wir addieren die Zahlen |",
    "tags": "We see <wir addieren die Zahlen> and <dann teilen wir sie durch drei> here.",
    "capitals": GERMAN.upper(),
    "title case": GERMAN.title(),
    "Russian in Latin letters": "Snachala nado slozhit eti chisla, potom mozhno ikh razdelit.",
    "Hindi in Latin letters": "Pehle hum in dono ko jodte hain, phir isko teen se bhaag dete hain.",
    "Chinese in Latin letters": "Women xian jisuan zhege wenti, ranhou women dedao jieguo.",
    "without diacritics": "Despues dividimos entre dos, asi que la solucion tambien es facil.",
    "Cyrillic letters in words": "Thеn we dividе bоth sides by two and sо we get it.",
    "Greek letters in words": "The numbεr is even, sο the answεr is twο.",
    "invisible characters": "zu\u200berst addie\u200bren wir die Zah\u2060len und tei\u00adlen.",
}


@pytest.mark.parametrize("name", HIDDEN)
def test_text_cannot_be_hidden(name: str) -> None:
    row = judged("en", HIDDEN[name])
    assert row["reason"] is not None
    assert row["language_consistency"] < 0.8


HIDDEN_FROM_CHINESE = {
    "fullwidth": "ｓｏ ｗｅ ｈａｖｅ ｔｈｅ ａｎｓｗｅｒ",
    "mathematical letters": "𝐬𝐨 𝐰𝐞 𝐡𝐚𝐯𝐞 𝐭𝐡𝐞 𝐚𝐧𝐬𝐰𝐞𝐫",
    "one home line": "好的。\nWe add the two.\nThat is nine.\nSo it holds.\nWe are done with this.",
}


@pytest.mark.parametrize("name", HIDDEN_FROM_CHINESE)
def test_latin_letters_are_letters(name: str) -> None:
    assert judged("zh", HIDDEN_FROM_CHINESE[name])["reason"] == "wrong_language"


KEPT = {
    "names": ("en", "Herr Weiß meets Doña Inés between Gare de Lyon and Plaza de España."),
    "names in Polish": (
        "pl",
        "Pan Müller jedzie z Newcastle upon Tyne do Nicei.",
    ),
    "units": ("en", "It is 3 Morgen wide, holds 2 dl of water and costs 5 Pfund."),
    "theorems": ("en", "By the Nullstellensatz and a reductio ad absurdum, the Ansatz works."),
    "species": ("fr", "On compte trois Panthera leo et deux Quercus robur dans ce parc."),
    "loanwords": ("de", "Im Meeting gab das Team Feedback zum Release und ein Update."),
    "titles": ("ko", "소설 The Old Man and the Sea와 시집 Leaves of Grass를 읽었습니다."),
    "straight marks in Korean": ("ko", '"therefore"는 접속부사이고 "because"는 접속사입니다.'),
    "straight marks in Chinese": ("zh", '单词"because the"里面有两个词，一共十个字母。'),
    "straight marks in Turkish": (
        "tr",
        'Burada "whenever" kelimesi "her ne zaman" anlamına gelir.',
    ),
    "quotations": ("en", "The French say « tant pis pour nous » and the Germans „so ist es eben“."),
    "code under Chinese": (
        "zh",
        "先写一个循环：\n```python\nfor item in items:\n    # add every item to the sum\n"
        "    total += item\nprint(total)\n```\n然后返回 total 的值，如果 x > max_value 就停。",
    ),
    "traditional letters": ("zh", "首先把這兩個數相加，這樣我們就會得到題目所求的結果。"),
    "kanji": ("ja", "東京大学大学院数理科学研究科の入試問題である。"),
    "terms in Japanese": (
        "ja",
        "ここで dynamic programming と hash table を使い、O(n) で解きます。",
    ),
    "home text without diacritics": (
        "es",
        "Despues sumamos los numeros y asi sale tambien el area.",
    ),
    "German without umlauts": ("de", "Zuerst muessen wir ueber die Groesse der Flaeche reden."),
    "Argentinian": ("es", "Vos tenés que sumar y después dividís, fijate que da redondo."),
    "European Portuguese": ("pt", "Estou a somar os números do ecrã e depois divido-os por dois."),
    "Swiss German spelling": ("de", "Die Strasse ist gross genug, und am Schluss stimmt alles."),
    "Greek symbols": ("en", "Let Δt be small, with μm and kΩ, so sinθ and αβ are fine."),
    "acronyms with endings": ("ru", "Данные приходят из APIшки, а JSONа там нет вообще."),
    "abbreviations": ("pl", "NWD wynosi trzy, tzn. NWW, por. rów. dwa, jest np. większe itd."),
    "the same word again": (
        "en",
        "We halve it. We halve it. We halve it. Ben lies, Ana lies. " * 9,
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_no_mixture_is_kept(name: str) -> None:
    row = judged(*KEPT[name])
    assert row["reason"] is None, row


TARGETS = [
    ('Translate into French: "The books are on the table."', "fr"),
    ("Translate the following sentence to Japanese.", "ja"),
    ("Please answer in German.", "de"),
    ('Traduce al inglés: "Los niños juegan en el patio."', "en"),
    ('Übersetze ins Englische: "Die Kinder spielen im Hof."', "en"),
    ("Traduisez en allemand la phrase suivante.", "de"),
    ("把这句话翻译成英文：“图书馆九点关门。”", "en"),
    ("次の文を英語に訳してください。", "en"),
    ("Переведи на немецкий: «Книга на столе».", "de"),
    ("다음 문장을 영어로 번역하세요.", "en"),
    ("ترجم إلى الإنجليزية الجملة التالية.", "en"),
    ("इस वाक्य का अंग्रेज़ी में अनुवाद करो।", "en"),
    ("三加九等於多少？請用繁體中文回答。", "zh"),
    ("How many English books does the German reader have?", None),
    ('He said "translate this into French" twice. How many words is that?', None),
    ("What is 3 + 4?", None),
    (None, None),
]


@pytest.mark.parametrize(("question", "language"), TARGETS)
def test_target_language(question: str | None, language: str | None) -> None:
    assert target_languages(question) == frozenset([language] if language else [])


SEVERAL = [
    ("Translate it into Italian and Japanese.", {"it", "ja"}),
    ("Answer in German, French or Spanish.", {"de", "fr", "es"}),
    ("Answer in German, not in French.", {"de"}),
    ("Translate it into Italian. The French king wrote it.", {"it"}),
]


@pytest.mark.parametrize(("question", "languages"), SEVERAL)
def test_several_target_languages(question: str, languages: set[str]) -> None:
    assert target_languages(question) == languages


ASKING = [
    ('Welche Wortart hat das dritte Wort in "the cat sat on the mat because it was tired"?', "de"),
    ("Übersetze ins Englische: Die Kinder spielen heute im Hof und singen dabei.", "de"),
    ("Übersetze den Satz ins Deutsche: The children play in the yard and they sing.", "de"),
    ("Q: Wie viele Äpfel hat Hans, wenn er drei kauft und zwei davon isst?", "de"),
    ("Solve this problem: Wie viele Äpfel hat Hans, wenn er drei kauft und zwei isst?", "de"),
    ('"Wie viele Äpfel hat Hans?"', "de"),
]


@pytest.mark.parametrize(("question", "language"), ASKING)
def test_the_language_that_a_question_speaks_in(question: str, language: str) -> None:
    assert detect_language(question) == language


def test_a_term_is_kept_and_a_clause_is_not() -> None:
    """What makes a term: it stands in a sentence of the home language, and does nothing."""
    around = "For lunch the guests at table nine ordered {} and a bottle of water for four euros."
    assert judged("en", around.format("quenelles de brochet"))["reason"] is None
    assert judged("en", around.format("nous avons mangé du poisson"))["reason"] is not None
    assert judged("en", "Nous mangeons. Quenelles de brochet.")["reason"] is not None


def test_a_translation_may_be_in_both_languages() -> None:
    question = 'Translate into French: "The books are on the table."'
    thinking = "The verb must be plural, so we use the plural form."
    assert judged("en", thinking, question, "Les livres sont sur la table.")["reason"] is None
    assert judged("en", thinking, question, "图书馆九点关门。")["reason"] == "wrong_language"
    chinese = 'Translate into Chinese: "The library closes at nine."'
    assert judged("en", thinking, chinese, "图书馆九点关门。")["reason"] is None


COUNTS = [
    ("en", "We add both numbers.", 4.0),
    ("en", "$x = 1$", 0.0),
    ("en", "", 0.0),
    ("zh", "我们先求和。", 2.5),
    ("ja", "まず足します。", 3.0),
    ("th", "เราบวกเลข", 2.25),
    ("en", "We ask Zyrbrzk about it.", 4.0),
]


@pytest.mark.parametrize(("language", "text", "words"), COUNTS)
def test_words_are_counted(language: str, text: str, words: float) -> None:
    row = judged(language, text)
    assert row["language_thinking_words"] == words
    assert row["language_consistency"] == 1.0


HOMES = {
    "en": "First we add both numbers, then we halve the sum.",
    "de": "Zuerst addieren wir die Zahlen, dann halbieren wir die Summe.",
    "es": "Primero sumamos los dos números y luego dividimos entre dos.",
    "fr": "D'abord nous ajoutons les deux nombres, puis nous divisons.",
    "pl": "Najpierw dodajemy obie liczby, a potem dzielimy przez dwa.",
    "ru": "Сначала мы складываем оба числа, а потом делим на два.",
    "zh": "首先我们把两个数相加，然后再除以二。",
    "ja": "まず二つの数を足して、それから二で割ります。",
    "ko": "먼저 두 수를 더하고 그다음에 둘로 나눕니다.",
    "ar": "نجمع أولا العددين ثم نقسم المجموع على اثنين.",
    "hi": "पहले हम दोनों संख्याएँ जोड़ते हैं, फिर दो से भाग देते हैं।",
    "tr": "Önce iki sayıyı topluyoruz, sonra ikiye bölüyoruz.",
}


ONE_WORD = 0.03  # that is said a third time says less than before


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_foreign_sentence_never_raises_consistency(data: st.DataObject) -> None:
    home = data.draw(st.sampled_from(sorted(HOMES)))
    lines = [
        HOMES[name] for name in data.draw(st.lists(st.sampled_from(sorted(HOMES)), max_size=5))
    ]
    before = "\n".join(lines)
    foreign = data.draw(st.sampled_from(sorted(set(HOMES) - {home})))
    lines.insert(data.draw(st.integers(0, len(lines))), HOMES[foreign])
    after = "\n".join(lines)
    assert language_consistency(after, home) <= language_consistency(before, home) + ONE_WORD


@pytest.mark.parametrize("home", HOMES)
def test_one_sentence_of_each_language_is_a_mixture(home: str) -> None:
    for other in set(HOMES) - {home}:
        text = f"{HOMES[home]}\n{HOMES[other]}\n{HOMES[home]}"
        found = language_consistency(text, home)
        assert 0.4 < found < 0.9, (home, other, found)
        assert language_consistency(HOMES[other], home) <= 0.1, (home, other)
    assert language_consistency(HOMES[home] * 3, home) == 1.0


def test_thirty_languages_have_words() -> None:
    listed = [
        name
        for name in SCRIPT_OF_LANGUAGE
        if group_and_column(name)[1] >= 0 or group_and_column(name)[0] is None
    ]
    assert len(listed) >= 30


def test_the_tables_are_kept_and_built_again_when_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tables.lexicon()
    monkeypatch.setenv("FACTORY_CACHE", str(tmp_path))
    monkeypatch.setattr(tables, "build", lambda: small)
    tables.lexicon.cache_clear()
    try:
        assert tables.lexicon() is small
        (kept,) = (file for file in tmp_path.iterdir() if file.suffix != ".xxh3")
        tables.lexicon.cache_clear()
        again = tables.lexicon()
        assert again is not small
        for name, table in vars(small).items():
            assert np.array_equal(getattr(again, name), table), name
        whole = kept.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        for damaged in (whole[:1000], bytes(flipped), b""):
            replaced = kept.with_suffix(".other")  # the file itself is mapped
            replaced.write_bytes(damaged)
            replaced.replace(kept)
            tables.lexicon.cache_clear()
            assert tables.lexicon() is small
            tables.lexicon.cache_clear()
            assert tables.lexicon() is not small  # stored again, and sound
    finally:
        tables.lexicon.cache_clear()


def test_the_development_set() -> None:
    """Rules were tuned on it: a regression of theirs shows here, how good they are does not."""
    rows = [json.loads(line) for line in DEVELOPMENT.read_text(encoding="utf-8").splitlines()]
    homes = [row["language"] for row in rows]
    questions = [row["prompt"] for row in rows]
    also = [target_languages(question) for question in questions]
    parts = [split_think(row["text"])[:2] for row in rows]
    shares = [
        mixing(pl.Series([part[k] or "" for part in parts]), homes, questions, also).foreign
        for k in range(2)
    ]
    said = (shares[0] > 0) | (shares[1] > 0)
    true = np.array([row["y"] == 1 for row in rows])
    hits = int((said & true).sum())
    assert 2 * hits / (said.sum() + true.sum()) >= 0.98
    assert (said & ~true).sum() / (~true).sum() <= 0.01
