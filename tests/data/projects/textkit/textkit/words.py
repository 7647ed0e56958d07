"""Words: counting, cutting, joining."""

import re


def slugify(text, separator="-", max_length=None):
    """Lower-case words joined by a separator, cut at a word's end."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    slug = separator.join(words)
    if max_length is not None and len(slug) > max_length:
        while words and len(separator.join(words)) > max_length:
            words.pop()
        slug = separator.join(words)
    return slug


def count_words(text, ignore_case=True):
    """How often each word occurs."""
    counts = {}
    for word in re.findall(r"\w+", text):
        key = word.lower() if ignore_case else word
        counts[key] = counts.get(key, 0) + 1
    return counts


def abbreviate(text, length, ending="..."):
    """The text, cut to a length with an ending."""
    if length < len(ending):
        raise ValueError("the length is shorter than the ending")
    if len(text) <= length:
        return text
    return text[: length - len(ending)].rstrip() + ending


def wrap(text, width=20):
    """Lines of at most a width; a longer word has a line of its own."""
    lines = []
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    if line:
        lines.append(line)
    return lines
