import pytest
from textkit import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1h 30m", 5400), ("2d", 172800), ("1h, 5s", 3605), (" 7M ", 420)],
)
def test_parse(text, seconds):
    assert parse_duration(text) == seconds


def test_default_unit():
    assert parse_duration("5", default_unit="m") == 300


@pytest.mark.parametrize("text", ["", "  ", "5x", "h"])
def test_unreadable(text):
    with pytest.raises(ValueError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (61, "1m 1s"), (90061, "1d 1h"), (-60, "-1m")]
)
def test_format(seconds, text):
    assert format_duration(seconds) == text


def test_format_parts():
    assert format_duration(90061, parts=4) == "1d 1h 1m 1s"
