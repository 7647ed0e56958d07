"""What a word does to a claim in the same sentence: deny, doubt, compare, suppose, …

Only words that work like grammar are listed, by class and in ten languages, and the stems of words
that call something wrong. No phrase is: how such words act together is decided in `claims`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

NOT, DOUBT, BUT, WRONG, TURN = "not", "doubt", "but", "wrong", "turn"
COMPARE, PART, IF, CONTRARY, WOULD = "compare", "part", "if", "contrary", "would"
INSIDE, IS, SO, BECAUSE, ANSWER, IT = "inside", "is", "so", "because", "answer", "it"
OR, AND, SAYS, THAT, MAY, DRAFT = "or", "and", "says", "that", "may", "draft"
LEADS, TRY, ONLY, TASK = "leads", "try", "only", "task"
KNOW, NAME = "know", "name"

_WORDS: dict[str, str] = {
    NOT: """
    not no never nor neither none nobody nothing nowhere cannot hardly barely scarcely
    nicht kein* nie niemals weder niemand kaum
    ne pas jamais aucun* non ni
    nunca ningun* ningún tampoco jamás não nem nenhum* mai nessun* né
    не нет ни никогда нельзя
    """,
    DOUBT: """
    maybe perhaps possibly guess* unsure suspect wonder uncertain undecided tentative*
    conceivably guesswork
    seem seems todo unverified
    vielleicht womöglich vermutlich möglicherweise unsicher
    peut-être peutêtre probablement
    quizá quizás talvez acaso supongo adivino forse magari immagino chissà
    возможно наверное наверно вероятно пожалуй разве неужели
    """,
    BUT: """
    but however although though yet whereas otherwise alternatively instead rather unless except
    nevertheless
    nonetheless
    aber jedoch allerdings doch hingegen obwohl sondern statt anstatt stattdessen außer
    mais cependant pourtant toutefois néanmoins sauf plutôt hormis
    pero sino embargo aunque excepto salvo porém contudo entretanto todavia exceto mas
    però tuttavia invece eppure tranne ma
    но однако зато кроме вместо
    """,
    WRONG: """
    wrong* incorrect* false* mistak* erroneous* error* fail* reject* extraneous contradict* invalid*
    impossible disagree* refut* counterexample* doubt* naive* naïve* careless* tempt* trap*
    typo* misread*
    mislead* miscalculat* miscount* overcount* undercount* overlook* forgot* forget* misses
    refuse* deny denied denies exclude* eliminate* discard* violat* absurd nonsense unsolved
    distractor
    confus* suspicious dubious attempt* unjustified unproven flawed incomplete unfinished slip
    versucht tenté tentado tentato unmöglich imposib* impossib* невозможн*
    superse* skipped inconsistent
    vergess* fehlt oubli* olvid* esquec* dimentic* забыл*
    falsch* fehler* irrtum* irrtüm* irre geirrt verrechnet widersp* verworfen
    faux fausse* erreur* tromp* contredi* erron*
    equivoc* contradi* falso falsa errad* errei erro erros engan*
    sbagli* errat* contradd* incorret* fals*
    ошиб* неверн* неправильн* противореч*
    """,
    TURN: """
    wait actually hmm* sorry oops whoops kidding joke* joking scratch strike correction*
    correcting revis*
    updat* rectif* edit redo recheck* recomput* recalculat* apolog* disregard* ignore* retract*
    withdraw*
    unfortunately regret* reconsider* rethink* reexamin* erratum ugh
    verzeih* zut ops ой
    korrektur* korrigier* halt warte leider entschuldig* stimmt
    rectifi* désolé* pardon attends attendez hélas malheureusement
    correcci* perdón espera lamento correç* desculp* espere infelizmente correzion* scus*
    aspetta purtroppo
    исправл* извин* подожд* прости* увы отмен* поправк*
    """,
    COMPARE: """
    than least most less greater smaller larger bigger between exceed* besides nearly almost under
    below above beyond except near far
    mindestens höchstens zwischen größer kleiner mehr weniger fast knapp außer über unter
    moins supérieur* inférieur* entre sauf hormis dépass*
    menos mayor menor máximo excepto salvo supera* maior exceto exced* maggiore minore almeno
    massimo tra tranne
    fra superior* inferior* superiore inferiore
    больше меньше более менее между кроме превыша* почти
    """,
    PART: """
    divided multiplied modulo increased decreased doubled halved squared cubed
    twice half third quarter double triple thrice square times reciprocal inverse opposite
    complement negative minus plus multiple multiples
    hälfte doppelte dreifache viertel drittel quadrat kehrwert zweimal
    moitié carré fois tiers
    doble mitad cuadrado inverso dobro metade triplo quadrado doppio metà volte vezes veces
    удвоенн* половин* вдвое втрое утроенн* квадрат минус плюс
    """,
    IF: """
    if whether suppos* assum* imagin* pretend* unless wenn ob angenommen supponiamo suposons
    supposons
    supongamos suponha если ли пусть предположим допустим
    """,
    CONTRARY: """
    had were without ignoring neglecting wäre si se sans sin sem senza ohne без fuera fosse
    """,
    WOULD: "would wäre wären würde würden serait serais sería seria sarebbe бы",
    INSIDE: """
    of that who whom whose which where when in with for such having from by on at among to
    der des die das den dem von mit für bei im qui que dont où du de aux
    en con para donde cuyo do da dos das em com quem di del della dei degli che cui nel
    которы* где у из на для
    """,
    IS: """
    is are was were be been being equals equal equalling equaling
    ist sind war lautet beträgt wäre est sont vaut était es son era equivale vale é são è sono
    равен равна равно равны будет это
    """,
    SO: """
    so thus hence therefore consequently accordingly then finally also and overall altogether
    ergo now well
    conclusion summary in
    somit daher folglich demnach damit insgesamt schließlich und
    donc ainsi alors enfin finalement et
    entonces así luego finalmente portanto então logo assim quindi dunque allora infine
    итак следовательно значит поэтому таким образом
    """,
    BECAUSE: """
    because since as given due
    denn weil da car parce puisque porque pues pois perché poiché потому поскольку так
    """,
    ANSWER: """
    answer result antwort ergebnis réponse résultat respuesta resultado resposta
    risposta
    risultato ответ результат
    """,
    IT: """
    it this ce cela esto eso isso questo ciò
    """,
    OR: "or oder ou o u или либо",
    AND: "and und et y e и",
    SAYS: """
    say says said claim* insist* wrote write writes guess* think thinks thought believ* suggest*
    state states
    told tells behaupt* sagen sagt meinen meint glauben affirm* dit disent pensent afirm* dice
    dicen dicono
    dizem diz acham afferma* pensano утвержда* говор* думают считают
    """,
    THAT: "that dass que che что whether ob",
    MAY: "could might may könnte pourrait podría poderia potrebbe мог могло",
    DRAFT: """
    similar textbook exercise given sample dummy fake before like mention mentions
    bound claim instance intermediate preliminary provisional old former previous draft example
    format* template placeholder please zwischenergebnis
    intermédiaire intermedio intermediário промежуточн*
    """,
    LEADS: """
    get gets got obtain* find finds found give gives gave giving yield* leave leaves leaving
    make makes making
    become* produce* reach* reduce* simplifies total totals arrive* have has
    """,
    TRY: """
    try test take divide multiply subtract add start plug* consider check verify confirm
    substitute write use
    let lets put enter avoid beware replace fill don how why what who stop teste nimm prenons
    essayons probemos provo попробуем
    """,
    ONLY: "only merely nur seulement solo sólo solamente só apenas soltanto только лишь",
    TASK: """
    question problem task asks asked aufgabe frage énoncé pregunta pergunta domanda вопрос задач*
    """,
    KNOW: """
    know idea sure certain clue tell sicher weiß wissen sais sûr sûre sé seguro segura sei certeza
    sicuro sicura знаю уверен уверена
    """,
}  # fmt: skip
"""Per class its words; `*` ends a stem. What each class does, in the order above: denies its
clause; leaves it open; turns against what was said; calls it mistaken; takes up the matter again;
compares with a value; makes another value of it; supposes; supposes against the facts; says what
would be; opens a part of a noun phrase; equates; concludes; gives a reason; names the answer;
stands for it; offers another; adds another; reports what somebody says; opens a reported clause;
says what is possible; names what is no answer yet; leads to a value; tries one; restricts; is about
what was asked; says that one knows."""

UNFINISHED = frozenset({DRAFT, IF, MAY, TASK, TRY, TURN, WOULD, WRONG})
"""Classes of words about a step, an attempt, or what is not so: "We tried 12 first."."""

_SCRIPTS: dict[str, str] = {
    NOT: r"不(?!等|同|仅|只|但|断|妨|难|管|论|变|定|超|少|动|重|大于|小于|多于)|没|無(?!理|限)|"
    r"无(?!论|穷|理|限|关|需|数)|非(?!负|零|常|空|負)|未(?!知|満|满)|难道|怎么|是否|恐怕|絕非|"
    r"ない|なかった|なけれ|ません|ぬ(?=[。、])|않|아니|아닙|아닌|없|못",
    DOUBT: r"可能(?:是|为|為)|也许|或许|大概|猜|恐らく|おそらく|たぶん|多分|かもしれ|"
    r"でしょうか|だろうか|"
    r"아마|수도\s*있|것\s*같|추측|글쎄",
    BUT: r"但|然而|不过|可是|却|しかし|だが|ただし|けれど|ところが|하지만|그러나|그런데|다만|제외",
    WRONG: r"错|錯|误(?!差)|誤|矛盾|偏大|偏小|太大|太小|舍去|舍弃|排除|"
    r"反する|反し|満たさ|間違|違う|違い|違っ|"
    r"모순|오류|오답|틀리|틀린|틀렸|헷갈",
    TURN: r"不好意思|更正|订正|訂正|纠正|修正|抱歉|对不起|對不起|等一下|等等|且慢|"
    r"重新|其实|应该是|应为|(?<![^\s。、])いや|"
    r"待って|すみません|ごめん|取り消|実は|정정|수정|잠깐|죄송|사실은|취소",
    COMPARE: r"大于|小于|至少|至多|最多|超过|超過|不到|不足|多于|少于|介于|除了|"
    r"少なくとも|高々|最大でも|"
    r"적어도|많아야",
    PART: r"一半|两倍|半分|절반|두\s*배",
    IF: r"如果|假设|假設|假如|若|要是|もし|仮に|仮定|만약|만일|가정",
    WOULD: r"会(?:是|为)|就会|将会",
    IS: r"是|为|為|有|は|が|은|는|이(?=\s)|가(?=\s)",
    SO: r"所以|因此|故|综上|综上所述|于是|从而|总之|"
    r"したがって|よって|ゆえに|そのため|따라서|그러므로|그래서|결국",
    BECAUSE: r"因为|由于|なぜなら|왜냐하면",
    ANSWER: r"答案|结果|結果|答え|正解|解答|답",
    IT: r"它|这|這",
    OR: r"或|または|もしくは|か(?=\s*\d)|또는|혹은",
    AND: r"和|与|及|と|및|그리고",
    DRAFT: r"中间|请|形式|题目|题设|例如|途中|중간",
    SAYS: r"以为|认为|觉得|声称|と答え|と思|라고",
}

_TOKEN = re.compile(r"[^\W\d_]+|\d+")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_IN_SCRIPTS = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _SCRIPTS.items()))
_JOINED = re.compile(
    r"(?P<not>n['’]t(?![^\W\d_]))|"
    r"(?P<would>['’]d(?= (?:be|get|have|find|obtain|make|give|become|need|reach|end)\b))|"
    r"(?<![^\W\d_])(?:(?P<doubt>peut-être|tal vez|может быть)|"
    r"(?P<draft>(?:in|of) the form)|"
    r"(?P<name>(?:the|two|three|four|five|six|eight|fair|all|both|sided|rolled|these|of) dice|"
    r"(?:of|the|all|both|these|united|\d) states|(?:average|total|their|his|her) guess(?:es)?|"
    r"guess(?:es)? (?:of the|(?:will|would) be (?:correct|right))|if and only if|tells? us that|"
    r"rounds? [\d,. ]+ (?:up|down) to|imaginary|like terms|to exercise|"
    r"given (?:equation|expression|conditions?|information|number|function|interval|range))|"
    r"(?P<doubt_>and counting)|"
    r"(?P<compare__>(?:short|shy) of(?! time)|"
    r"as (?:much|many|large|big|long|far|high|little|few) as)|"
    r"(?P<compare>(?<!add )(?<!adds )(?<!round )(?<!rounds )up to|bis zu|jusqu['’]à|hasta|até|"
    r"fino a|вплоть до)|"
    r"(?P<so>no total|no final|no fim)|(?P<compare_>не (?:менее|более|меньше|больше))|"
    r"(?P<wrong>rul(?:e|es|ed|ing) out|would have been|"
    r"to be (?:verified|checked|confirmed))|"
    r"(?P<turn>moment(?=\s*[,.!…]))|"
    r"(?P<because>looks like (?:this|so)(?=\s*:)|no doubt|without (?:a )?doubt|beyond doubt|"
    r"without loss|ohne zweifel|sans doute))",
    re.IGNORECASE,
)
"""What a hyphen, an apostrophe or a space would take apart; names and the last deny nothing."""


class Word(NamedTuple):
    """A word of a text, where it starts and ends, and what classes it is of."""

    start: int
    end: int
    text: str
    classes: frozenset[str]


_start = attrgetter("start")


def find_words(text: str) -> list[Word]:
    """The words of a text, in order; of Chinese, Japanese and Korean only those of a class.

    >>> [word.text for word in find_words("It isn't 12") if NOT in word.classes]
    ["n't"]
    """
    found = [
        Word(each.start(), each.end(), each[0], classes_of(each[0].lower()))
        for each in _TOKEN.finditer(text)
        if text[each.end() : each.end() + 1] != "-"
    ]
    if not text.isascii() and _UNSPACED.search(text) is not None:
        found = [word for word in found if _UNSPACED.match(word.text) is None] + [
            Word(each.start(), each.end(), each[0], frozenset((str(each.lastgroup),)))
            for each in _IN_SCRIPTS.finditer(text)
        ]
        found.sort(key=_start)
    joined = [
        Word(each.start(), each.end(), each[0], frozenset((str(each.lastgroup).rstrip("_"),)))
        for each in _JOINED.finditer(text)
    ]
    if joined:
        inside = {place for word in joined for place in range(word.start, word.end)}
        found = joined + [word for word in found if word.start not in inside]
        found.sort(key=_start)
    return found


def has(words: Sequence[Word], name: str) -> bool:
    """Whether one of the words is of a class."""
    return any(name in word.classes for word in words)


def says_any(words: Iterable[Word], classes: Set[str], listed: Set[str]) -> bool:
    """Whether one of the words is of one of the classes, or is listed in lower case."""
    return any(classes & word.classes or word.text.lower() in listed for word in words)


@lru_cache(maxsize=4096)
def classes_of(word: str) -> frozenset[str]:
    """The classes of a word in lower case."""
    return _EXACT.get(word, frozenset()) | frozenset(
        name for size in range(3, min(len(word), 12) + 1) for name in _STEMS.get(word[:size], ())
    )


def _table(stems: bool) -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for name, words in _WORDS.items():
        for word in words.split():
            if word.endswith("*") == stems:
                table.setdefault(word.removesuffix("*"), set()).add(name)
    return {word: frozenset(names) for word, names in table.items()}


_EXACT = _table(stems=False)
_STEMS = _table(stems=True)
