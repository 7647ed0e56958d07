"""What claims an answer, and what leaves it open: each row next to a near miss."""

from __future__ import annotations

import pytest

from filters.verify.prose.afterthoughts import is_kept
from filters.verify.prose.claims import is_claimed
from filters.verify.prose.extract_answer import final_answer

SENTENCES = [
    ("The number of n not divisible by 3 is @.", "The answer is not @."),
    ("Since x cannot be negative, the answer is @.", "The answer cannot be @."),
    ("The number of wrong tickets is @.", "The wrong number is @."),
    ("I think the answer is @.", "Tom thinks the answer is @."),
    ("It follows that it is @.", "Rumour has it that it is @."),
    ("He must score at least @ points.", "The answer is at least @."),
    ("It is @, not 13.", "It is @, but 13 is closer."),
    ("It is @, or 12.0.", "It is @, or 13."),
    ("It is @, as no other works.", "It is @, as I could not solve it."),
    ("Thus @ squares remain.", "@ squares is too many."),
    ("@ is the answer.", "@ is a trap."),
    ("The lower bound is attained, so the answer is @.", "A lower bound is @."),
    ("If x = 2, the product is @.", "If x were 2, the product would be @."),
    ("That leaves @ pupils who play no sport.", "That leaves @, which is impossible."),
    ("The largest x not in the domain is @.", "It is clear that the result can't be @."),
    ("The probability that it is not red is @.", "I doubt that it is @."),
    ("If and only if n is even, the count is @.", "If the die were fair, we'd get @."),
    ("There are @ primes less than 40.", "Between 10 and @."),
    ("There are @ kids not allergic to milk.", "@ short of the target."),
    ("Thus @ is the smallest number that works.", "@ is the largest value I tried."),
    ("She has @ coins: 5 gold ones and 7 silver ones.", "She has @ so far."),
    ("The two dice show @.", "The sum would come to @ had we kept it."),
    ("I used no table. The answer is @.", "I don't know. The answer is @."),
    ("答案不是13，而是@。", "答案不可能是@。"),
    ("不能被3整除的整数共有@个。", "@不符合题意。"),
    ("13ではなく@です。", "@ではなく13です。"),
    ("x는 음수가 될 수 없으므로 답은 @입니다.", "답은 @보다 큽니다."),
    ("Nicht 13, sondern @.", "Die Antwort ist nicht @."),
    ("Ce n'est pas 13 mais @.", "La réponse n'est pas @."),
    ("No es 13, sino @.", "No creo que sea @."),
    ("Не 13, а @.", "Ответ не @."),
]
AFTER = [
    ("I hope this helps!", "I made a slip."),
    ("So there are 12 of them.", "So there are 13 of them."),
    ("Note that the order does not matter.", "Note: this is wrong."),
    ("Check: 3 · 4 = 12.", "Now subtract the overlaps."),
    ("This agrees with the formula.", "This contradicts the formula."),
    ("They are spread over three shelves.", "They are 12, 13 and 14."),
    ("Check: 3 + 4 = 7, and this fits.", "Check: 3 + 4 = 7, so that's not consistent."),
    ("More generally, n points give n(n-1)/2.", "The graph shows that it is 13."),
    ("希望对你有帮助！", "更正：13"),
    ("Probe: 3 · 4 = 12.", "Das stimmt nicht."),
]


@pytest.mark.parametrize(("claims", "leaves_open"), SENTENCES)
def test_a_sentence_claims_or_leaves_open(claims: str, leaves_open: str) -> None:
    for sentence, expected in ((claims, True), (leaves_open, False)):
        before, after = sentence.split("@")
        assert is_claimed(before, after, "12") is expected, sentence


@pytest.mark.parametrize(("stands_by", "takes_back"), AFTER)
def test_a_later_sentence_stands_by_or_takes_back(stands_by: str, takes_back: str) -> None:
    assert is_kept(stands_by, "12"), stands_by
    assert not is_kept(takes_back, "12"), takes_back


def test_a_trusted_solution_marks_its_answer_in_any_prose() -> None:
    text = "It is tempting to stop at $\\boxed{12}$, as we do."
    assert final_answer(text) is None
    assert final_answer(text, trusted=True) is not None
    assert final_answer(f"{text}\n\nThat is wrong.", trusted=True) is None
