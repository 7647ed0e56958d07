"""Roman numerals."""

_SIGNS = (
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
    (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
)  # fmt: skip


def to_roman(number):
    """The numeral of a number from 1 to 3999."""
    if not 1 <= number <= 3999:
        raise ValueError(f"{number} has no numeral")
    found = []
    for value, sign in _SIGNS:
        while number >= value:
            found.append(sign)
            number -= value
    return "".join(found)


def from_roman(text):
    """The number of a numeral, in upper or lower case."""
    values = {sign: value for value, sign in _SIGNS}
    total = 0
    largest = 1000
    for sign in reversed(text.upper()):
        if sign not in values:
            raise ValueError(f"{sign} is no numeral")
        value = values[sign]
        if total == 0:
            largest = value
        if value < largest:
            total -= value
        else:
            total += value
            largest = value
    return total
