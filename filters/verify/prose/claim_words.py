"""The words in which a sentence may claim an option's letter, and say nothing else.

"The answer must therefore be B" claims B. One word that is not here ("the opposite of B", "plan B",
\\neg B), and the sentence claims nothing that can be relied on.
"""

from __future__ import annotations

import re

_WORDS = frozenset(
    """
    the a an my our your this that that's it it's its there one statement response selection item
    final correct right best only accurate appropriate suitable true most likely probable answer
    answers option options choice choices letter alternative solution is was be been must should
    would will has have to can could may might i i'd i'll we we'd say said think believe choose
    chose choosing pick picked select selected go going with opt for settle on conclude get obtain
    so thus therefore hence then consequently accordingly finally overall clearly definitely simply
    certainly surely probably indeed actually obviously here sure of course yes marked labelled
    labeled namely matches corresponds to which but sondern aber mais ma sino mas а но
    die der das den dem richtige korrekte beste endgültige antwort antwortmöglichkeit ist lautet
    wäre option auswahl lösung also somit daher folglich demnach richtig korrekt ich wähle wir
    wählen nehme buchstabe
    la le les l' réponse bonne correcte exacte juste finale meilleure est serait donc ainsi alors
    je choisis nous choisissons lettre l'option l'alternative
    el los las respuesta opción correcta correcto final mejor es sería por lo tanto entonces así
    elijo elegimos escojo inciso letra alternativa
    o os resposta opção certa correta melhor é será portanto então logo escolho escolhemos item
    il lo risposta opzione corretta giusta esatta migliore è e' sarebbe quindi dunque scelgo
    scegliamo lettera l'opzione
    ответ ответом правильный верный правильным итоговый окончательный вариант варианта это является
    poprawna prawidłowa odpowiedź to zatem więc doğru cevap şıkkıdır şıkkı đáp án đúng là vậy
    الإجابة الصحيحة الجواب الصحيح هي هو إذن juiste keuze antwoord het dus rätt svar svaret är
    правильна відповідь отже
    будет следовательно значит поэтому таким образом я выбираю мы выбираем верен верно правильно
    правильная буква под
    """.split()  # noqa: SIM905 -- a table of words is read as prose
)
_PUNCTUATION = frozenset("()[]{}:.,;'\"!…。、：-–—*|&/")
_UNSPACED = re.compile(
    r"(?:正确|正確|答案|选项|選項|选择|選擇|选|選|故|应该|應該|应当|应|應|是|为|為|项|項|的|因此|所以|"
    r"而是|综上所述|综上|本题|此题|我们|我|該|该|就|对|對|最终|最後|最后|字母|"
    r"正解|答え|解答|回答|は|です|が|正しい|選択肢|したがって|よって|の|である|となります|になります|"
    r"최종|정답|답|답변|따라서|그러므로|입니다|이다|이에요|예요|은|는|이|가|번|선택지|보기|맞습니다|옳습니다|"
    r"정답입니다|과|을|를|선택|합니다)+"
)
_TOKEN = re.compile(r"\\[A-Za-z]+|[^\W\d_]+(?:'[^\W\d_]+)*'?|\S")


def is_plain(text: str) -> bool:
    """Whether a sentence without its letters holds no words but such.

    >>> is_plain("so the answer must be"), is_plain("the opposite of")
    (True, False)
    """
    return all(
        token.lower() in _WORDS or token in _PUNCTUATION or bool(_UNSPACED.fullmatch(token))
        for token in _TOKEN.findall(text)
    )
