"""Items from a seed: a reference, a response and whether its answer is the reference's value."""

from __future__ import annotations

import random
from typing import NamedTuple

from . import algebra_forms, group_forms, number_forms, quantity_forms, school_forms, symbol_forms
from .drafts import Maker
from .wrap import wrap

MAKERS: dict[str, Maker] = {
    **number_forms.MAKERS,
    **algebra_forms.MAKERS,
    **group_forms.MAKERS,
    **quantity_forms.MAKERS,
    **symbol_forms.MAKERS,
    **school_forms.MAKERS,
}
RARE = tuple(symbol_forms.MAKERS)
"""Forms in notation that a verifier may refuse as references, but must not confuse."""
HARD = ("radical", "nested radical", "matrix", "polynomial", "rational expression", "function",
        "two letters", "line", "circle", "logarithm", "trigonometric", "complex")  # fmt: skip
DOUBLED = 0.02
"""Share of references whose backslashes a writer doubled."""


class Made(NamedTuple):
    """One labelled item. `answer` is what the response states, without what surrounds it."""

    form: str
    reference: str
    answer: str
    response: str
    equal: bool


def generate(seed: int, n: int, forms: tuple[str, ...] | None = None) -> list[Made]:
    """`n` items, the forms in turn, about as many equal as different; no pair twice.

    Arithmetic left undone (12 + 7 for 19) is in neither: docs/explanation/verdicts.md refuses it.
    """
    draw = random.Random(seed)
    names = list(forms or MAKERS)
    made: list[Made] = []
    seen: set[tuple[str, str]] = set()
    turn = 0
    while len(made) < n:
        form = names[turn % len(names)]
        turn += 1
        draft = MAKERS[form](draw)
        for pool, others, equal in (
            (draft.right, draft.wrong, True),
            (draft.wrong, draft.right, False),
        ):
            if not pool:
                continue
            decoy = draw.choice(others).text if others else ""
            reference = draw.choice(draft.references)
            fresh = [one for one in pool if one.text != reference.strip("$")]
            answer = draw.choice(fresh or pool)
            if "\\" in reference and "\\\\" not in reference and draw.random() < DOUBLED:
                reference = reference.replace("\\", "\\\\")
            if (reference, answer.text) not in seen:
                seen.add((reference, answer.text))
                made.append(Made(form, reference, answer.text, wrap(answer, decoy, draw), equal))
    return made[:n]
