"""The last line of a response that marks no answer, boxes with names, and what is undecided."""

from __future__ import annotations

import pytest

from filters.verify.mathematics import MathVerifier, reference_text
from filters.verify.prose.extract_answer import final_answer

READ = (
    ("**12**", "12"),
    ("So there are **12** of them.", "12"),
    ("She keeps 5, so she pays **$12**.", "$12"),
    ("The number is 12.", "12"),
    ("**Result:** 12", "12"),
    ("So $x=4$ or $x=10$.", "$x=4$ or $x=10$"),
    ("Therefore, Janet makes $12 every day at the farmers' market.", "$12"),
    ("So Kylar needs to pay $12 for 16 glasses.", "$12"),
    ("Kylar needs to pay **$12** for 16 glasses.", "$12"),
    ("Thus, it takes him a total of 12 hours.", "12 hours"),
    ("Hence there are 12 jelly beans in total.", "12 jelly"),
    ("So the train is $12$ miles away.", "12 miles"),
    ("**Answer:** Wendi gives her chickens **12 cups** of feed.", "12 cups"),
    ("### Final answer\nJohn is 12 miles from home.", "12 miles"),
    ("So James runs 12 km per hour.", "12 km per hour"),
    ("Het antwoord is 12.", "12"),
    ("Więc odpowiedź to 12.", "12"),
    ("إذن الجواب النهائي هو 12.", "12"),
    ("Die Antwort ist also 12.", "12"),
    ("La respuesta es 12, ya que 5 + 7 = 12.", "12"),
    ("The answer is 12, no more and no less.", "12"),
)
NOT_READ = (
    "We tried **12** first.",
    "It is more than **12**.",
    "**12** or **13**.",
    "**12.** Now we subtract three.",
    "There were **12** apples at first.",
    "Of 20 apples **12** or 13 are left.",
    "The double of it is 12.",
    "The first guess is 12.",
    "The previous value is 12.",
    "The number is not 12.",
    "So $x=12$ is impossible.",
    "Intermediate result: 12",
    "Therefore, each of the 12 friends gets the same.",
    "Therefore, Janet sells the 12 eggs.",
    "So she has 12 apples and 5 pears.",
    "So she makes $12 every day, $84 a week.",
    "Therefore, John has 12 more apples than Mary.",
    "So the rectangle is 12 by 5.",
    "So the odds are 12 to one.",
    "So it takes 12 and a half hours.",
    "So it takes nearly 12 hours.",
    "So he has 3 times 12 apples.",
    "So he has 12 - 5 apples.",
    "So he has 12 minus what he ate.",
    "Then he has 12 apples at the start.",
    "If she has 12 apples, so has he.",
    "Therefore, the train leaves at 12:30.",
    "So he would have 12 apples.",
    "So he does not have 12 apples.",
    "Het antwoord is 12 of 13.",
    "Odpowiedź to nie 12.",
    "Somit ist die Antwort nicht 12.",
)


@pytest.mark.parametrize(("line", "value"), READ)
def test_a_last_line_gives(line: str, value: str) -> None:
    answer = final_answer(f"We count.\n\n{line}")
    assert answer is not None
    assert answer.text == value


@pytest.mark.parametrize("line", NOT_READ)
def test_a_last_line_that_leaves_it_open_gives_nothing(line: str) -> None:
    answer = final_answer(f"We count.\n\n{line}")
    assert answer is None or answer.text != "12"


@pytest.mark.parametrize(
    ("reference", "response", "state"),
    [
        ("x=2,y=-1", r"$x=\boxed{2}$, $y=\boxed{-1}$", "correct"),
        ("(2,-1)", r"$x=\boxed{2}$, $y=\boxed{-1}$", "correct"),
        ("x=2,y=-1", r"$y=\boxed{2}$, $x=\boxed{-1}$", "wrong"),
        (r"\frac12, 6", r"$x_1=\boxed{6}$, $x_2=\boxed{\frac12}$", "correct"),
        ("12", r"\boxed{12\%}", "unparseable"),
        (r"12\%", r"\boxed{12}", "correct"),
        (r"12\%", r"\boxed{12\text{ per cent}}", "correct"),
        ("0.12", r"\boxed{12\%}", "correct"),
        ("12.5%", r"\boxed{12,5 \%}", "correct"),
        ("12.5%", r"\boxed{12,6 \%}", "wrong"),
        ("1,234", r"\boxed{1;234}", "unparseable"),
        ("1,234", r"\boxed{1234}", "correct"),
        ("12 h", r"\boxed{12\text{ Stunden}}", "correct"),
        ("12 h", r"\boxed{12\text{ jours}}", "wrong"),
    ],
)
def test_what_boxes_say(maths: MathVerifier, reference: str, response: str, state: str) -> None:
    (verdict,) = maths.verify([({"answer": reference}, response)])
    assert verdict.state == state, verdict


@pytest.mark.parametrize(
    ("solution", "reference"),
    [(r"or $\boxed{20}$ percent.", r"20\%"), (r"$\boxed{20}\%$", r"20\%"), (r"$\boxed{20}$", "20")],
)
def test_the_sign_behind_a_box_of_a_solution_belongs_to_it(solution: str, reference: str) -> None:
    assert reference_text({"answer": solution}) == reference
