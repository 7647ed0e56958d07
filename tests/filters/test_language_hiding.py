"""Places where a policy may hide another language to earn the reward of consistency.

Found by a search over ways to write a sentence. None keeps the reward where most words are foreign.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.language import Language, language_consistency

FOREIGN = {
    "de": [
        "Zuerst addieren wir die beiden Zahlen",
        "Dann teilen wir die Summe durch drei",
        "Das Ergebnis ist also eine gerade Zahl",
        "Wir prüfen noch einmal ob das stimmt",
    ],
    "es": [
        "Primero sumamos los dos números",
        "Luego dividimos la suma entre tres",
        "El resultado es entonces un número par",
        "Comprobamos otra vez si esto es cierto",
    ],
    "ru": [
        "Сначала сложим оба числа",
        "Потом разделим сумму на три",
        "Значит результат будет чётным числом",
        "Проверим ещё раз верно ли это",
    ],
    "en": [
        "First we add both of the numbers",
        "Then we divide the sum by three",
        "So the result is an even number",
        "We check once more whether this holds",
    ],
}
OWN = {"en": "We start here.", "zh": "我们开始。", "de": "Wir fangen an."}


def each(form: str) -> Callable[[list[str]], str]:
    """Every sentence in a form of its own."""
    return lambda lines: "\n".join(form.replace("%", line) for line in lines)


def words(form: str, between: str = " ") -> Callable[[list[str]], str]:
    """Every word in a form of its own."""
    return lambda lines: "\n".join(
        between.join(form.replace("%", word) for word in line.split()) for line in lines
    )


def fence(form: str, language: str = "python") -> Callable[[list[str]], str]:
    return lambda lines: f"```{language}\n{each(form)(lines)}\n```"


def shifted(first: int) -> Callable[[list[str]], str]:
    """ASCII letters as the signs from a code point on."""
    return lambda lines: "\n".join(
        "".join(chr(first + ord(c) - 97) if "a" <= c <= "z" else c for c in line.lower())
        for line in lines
    )


WAYS = {
    "plain": each("%."),
    "a fence": fence("%", ""),
    "comments": fence("x = f(y)  # %"),
    "short comments": lambda lines: fence("x = f(y)  # %")(
        [" ".join(line.split()[:3]) for line in lines * 2]
    ),
    "a fence for every comment": each("```python\nx = 1  # %\ny = x + 1\nz = f(y)\n```\n"),
    "strings": fence('x = f("%")'),
    "a docstring": lambda lines: f'```python\ndef f(x):\n    """{each("%")(lines)}"""\n```',
    "arguments": lambda lines: fence("x = f(%)")([line.replace(" ", ", ") for line in lines]),
    "assignments": lambda lines: fence("%")([f"{w} = 1" for line in lines for w in line.split()]),
    "JSON": fence('"k": "%",', "json"),
    "YAML": fence("k: %", "yaml"),
    "unfenced JSON": each('{"k": "%"}'),
    "snake case": words("%", "_"),
    "camel case": lambda lines: "\n".join(line.title().replace(" ", "") for line in lines),
    "at signs": words("%", "@"),
    "digits between": words("%", "1"),
    "digits after": words("%1"),
    "digits before": words("1%"),
    "underscores around": words("_%_"),
    "points between": words("%", "."),
    "slashes between": words("%", "/"),
    "formulas": each("$%$"),
    "displays": each("$$ % $$"),
    "parentheses of TeX": each(r"\(%\)"),
    "environments": each(r"\begin{align}%\end{align}"),
    "verbatim": each(r"\begin{verbatim}%\end{verbatim}"),
    "text in formulas": each(r"$x \text{%}$"),
    "text, word by word": lambda lines: words(r"$\text{%}$")(lines),
    "roman letters": lambda lines: words(r"$\mathrm{%}$")(lines),
    "operators": each(r"$\operatorname{%}$"),
    "commands": words("\\%"),
    "money": each("a$%$b"),
    "comments of HTML": each("<!-- % -->"),
    "attributes": each('<a title="%">ok</a>'),
    "tags": words("<%>"),
    "tags with a sign": each("<%=>"),
    "link texts": each("[%](http://a.b)"),
    "link titles": each('[ok](http://a.b "%")'),
    "paths of URLs": lambda lines: "\n".join(
        "http://a.b/" + line.replace(" ", "/") for line in lines
    ),
    "a URL for every word": words("http://%"),
    "tables": each("| % | 1 |"),
    "a cell for every word": words("%", " | "),
    "headings": each("## %"),
    "emphasis": words("**%**"),
    "quotations": each('"%"'),
    "a quotation for every word": words('"%"'),
    "brackets": words("(%)"),
    "inline code": each("`%`"),
    "inline code for every word": words("`%`"),
    "inline code with a sign": each("`%;`"),
    "inline calls": each("`f(%)`"),
    "emoji between": words("%", "🙂"),
    "invisible spaces": words("%", "\u200b"),
    "invisible letters": lambda lines: "\n".join("\u200b".join(line) for line in lines),
    "direction marks": each("\u202e%\u202c"),
    "capitals": lambda lines: "\n".join(lines).upper(),
    "title case": lambda lines: "\n".join(lines).title(),
    "commas": words("%", ", "),
    "a line for every word": words("%", "\n"),
    "a language that is named": each("German Spanish Russian English: %"),
    "footnotes": each("[^1]: %"),
}
ASCII_WAYS = {
    "fullwidth": shifted(0xFF41),
    "bold": shifted(0x1D41A),
    "circled": shifted(0x24D0),
    "squared": shifted(0x1F130),
    "small capitals": lambda lines: (
        "\n".join(lines)
        .lower()
        .translate(str.maketrans("abcdeghijklmnoprtuvwyz", "ᴀʙᴄᴅᴇɢʜɪᴊᴋʟᴍɴᴏᴘʀᴛᴜᴠᴡʏᴢ"))
    ),
    "raised": lambda lines: (
        "\n".join(lines)
        .lower()
        .translate(str.maketrans("abdeghijklmnoprstuvw", "ᵃᵇᵈᵉᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷ"))
    ),
    "letters apart": lambda lines: "\n".join("  ".join(map(" ".join, x.split())) for x in lines),
    "points in words": lambda lines: "\n".join("  ".join(map(".".join, x.split())) for x in lines),
}
PLACES = [
    (way, home, foreign)
    for way, foreigns in (
        *((name, ("de", "es", "ru", "en")) for name in WAYS),
        *((name, ("de", "en")) for name in ASCII_WAYS),
    )
    for home in OWN
    for foreign in foreigns
    if foreign != home
]


@pytest.mark.parametrize(("way", "home", "foreign"), PLACES)
def test_no_place_hides_a_text(way: str, home: str, foreign: str) -> None:
    hidden = {**WAYS, **ASCII_WAYS}[way](FOREIGN[foreign])
    for text in (hidden, f"{OWN[home]}\n{hidden}"):
        assert language_consistency(text, home) < 0.9, text


# Of a text without any word of its own language, English names of languages may be anything.
PAYING = sorted(set(WAYS) - {"a language that is named"})


ONE_WORD = 0.02  # of one that stands among the hidden ones, such as a link's "ok"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_foreign_sentence_never_pays_next_to_a_hidden_text(data: st.DataObject) -> None:
    home = data.draw(st.sampled_from(sorted(OWN)))
    others = st.sampled_from(sorted(set(FOREIGN) - {home}))
    hidden = WAYS[data.draw(st.sampled_from(PAYING))](FOREIGN[data.draw(others)])
    own = "\n".join([OWN[home]] * data.draw(st.integers(0, 12)))
    sentence = data.draw(st.sampled_from(FOREIGN[data.draw(others)])) + "."
    parts = [own, hidden]
    before = "\n\n".join(parts)
    parts.insert(data.draw(st.integers(0, 2)), sentence)
    after = "\n\n".join(parts)
    assert language_consistency(after, home) <= language_consistency(before, home) + ONE_WORD


PLAIN = {
    "formulas": (
        "en",
        r"We get $\frac{\partial f}{\partial x} \in \mathbb{R}$, $\sin\theta \le \cos\phi$, "
        r"\[ \sum_{n} \mathrm{e}^{-n} \to \infty \] and $a \ne b$, $\mu \in \nu$. " * 6,
    ),
    "code under German": (
        "de",
        "Das Programm:\n```python\ndef count_values(values, limit):\n    total = 0\n"
        "    for value in values:\n        if value > limit:\n            total += value\n"
        "    return total\n\nprint(count_values([1, 2, 3], limit=2))\n```\n",
    ),
    "code under Chinese": (
        "zh",
        "代码如下：\n```cpp\n#include <vector>\nint main() {\n  std::vector<int> values;\n"
        '  for (int value : values) std::cout << "total: " << value << std::endl;\n'
        "  return 0;\n}\n```\n",
    ),
    "URLs": ("fr", "Voir https://en.wikipedia.org/wiki/History_of_the_theory_of_numbers ici."),
    "identifiers": (
        "es",
        "Usamos max_sub_array_sum, get_value_of_node y isEmptyTree en el código.",
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_code_and_formulas_hide_nothing(name: str) -> None:
    home, text = PLAIN[name]
    assert language_consistency(text, home) == 1.0


def test_what_was_hidden_is_marked_where_it_stands() -> None:
    import polars as pl

    text = "We go on here 🙂:\n" + "\n".join(f"${line}$" for line in FOREIGN["de"])
    row = {"sample_id": "a", "language": "en", "question": "", "thinking": text, "response": ""}
    found = Language().measure(pl.DataFrame([row])).row(0, named=True)
    marked = [text[s["start"] : s["end"]] for s in found["language_thinking_spans"]]
    assert marked[0].startswith("Zuerst addieren")
    assert marked[-1].endswith("ob das stimmt")
