import pytest
from textkit import from_roman, to_roman

PAIRS = [
    (1, "I"),
    (4, "IV"),
    (9, "IX"),
    (14, "XIV"),
    (40, "XL"),
    (1994, "MCMXCIV"),
    (3999, "MMMCMXCIX"),
]


@pytest.mark.parametrize(("number", "text"), PAIRS)
def test_to_roman(number, text):
    assert to_roman(number) == text


@pytest.mark.parametrize(("number", "text"), PAIRS)
def test_from_roman(number, text):
    assert from_roman(text) == number


def test_lower_case():
    assert from_roman("xii") == 12


@pytest.mark.parametrize("number", [0, -1, 4000])
def test_out_of_range(number):
    with pytest.raises(ValueError, match="numeral"):
        to_roman(number)


def test_not_a_numeral():
    with pytest.raises(ValueError, match="no numeral"):
        from_roman("ABC")
