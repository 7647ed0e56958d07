"""Unicode mathematics as the LaTeX it stands for."""

from __future__ import annotations

import re
import unicodedata

# NFKC alone would read x² as x2, 10₂ as 102, 3½ as 31/2 and ① as 1: these go first.
_COMPOSED = re.compile("[ª²³¹º¼-¾ʰ-ʸˠ-ˤᴬ-ᵪ⁰-ₜ⅐-⅟①-⓿]+")
_MARKS = {"<super>": "^{%s}", "<sub>": "_{%s}", "<circle>": "\\textcircled{%s}"}
_VULGAR = frozenset("¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞⅟")
_SYMBOLS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "‐": "-",
        "‑": "-",
        "×": "\\times ",
        "·": "\\cdot ",
        "⋅": "\\cdot ",
        "∙": "\\cdot ",
        "÷": "/",
        "⁄": "/",
        "∕": "/",
        "π": "\\pi ",
        "∞": "\\infty ",
        "≤": "\\le ",
        "≥": "\\ge ",
        "⩽": "\\le ",
        "⩾": "\\ge ",
        "≠": "\\ne ",
        "≈": "\\approx ",
        "∪": "\\cup ",
        "∩": "\\cap ",
        "∅": "\\emptyset ",
        "∈": "\\in ",
        "∉": "\\notin ",
        "→": "\\to ",
        "⇒": "\\Rightarrow ",
        "⇔": "\\Leftrightarrow ",
        "≡": "\\equiv ",
        "≅": "\\cong ",
        "∼": "\\sim ",
        "△": "\\triangle ",
        "∠": "\\angle ",
        "⊥": "\\perp ",
        "∥": "\\parallel ",
        "⊕": "\\oplus ",
        "∘": "\\circ ",
        "∀": "\\forall ",
        "∃": "\\exists ",
        "¬": "\\neg ",
        "∧": "\\land ",
        "∨": "\\lor ",
        "⊂": "\\subset ",
        "⊆": "\\subseteq ",
        "∖": "\\setminus ",
        "°": "^\\circ ",
        "±": "\\pm ",
        "∓": "\\mp ",
        "∑": "\\sum ",
        "∫": "\\int ",
        "∣": "|",
        "∶": ":",
        "′": "'",
        "、": ",",
        "。": ".",
        "．": ".",
        "“": '"',
        "”": '"',
        "‘": "'",
        "\u200b": None,
        "\u2061": None,
        "\ufeff": None,
        **{
            letter: f"\\{name} "
            for name, letter in {
                "alpha": "α",
                "beta": "β",
                "gamma": "γ",
                "delta": "δ",
                "theta": "θ",
                "lambda": "λ",
                "mu": "μ",
                "rho": "ρ",
                "sigma": "σ",
                "tau": "τ",
                "phi": "φ",
                "omega": "ω",
                "epsilon": "ε",
                "Delta": "Δ",
                "Omega": "Ω",
            }.items()
        },
    }
)
_BLACKBOARD = str.maketrans(
    {
        "ℝ": "\\mathbb{R}",
        "ℤ": "\\mathbb{Z}",
        "ℕ": "\\mathbb{N}",
        "ℚ": "\\mathbb{Q}",
        "ℂ": "\\mathbb{C}",
    }
)
_ROOT = re.compile(r"([√∛∜])\s*(?:\(([^()]*)\)|\{([^{}]*)\}|([0-9]+|[A-Za-z]))")
_INDEX = {"√": "", "∛": "[3]", "∜": "[4]"}


def fold(text: str) -> str:
    """Unicode mathematics as ASCII LaTeX: full-width forms, √, π, exponents, vulgar fractions.

    >>> fold("（３，x²）≤√2")
    '(3,x^{2})\\\\le \\\\sqrt{2}'
    """
    if text.isascii():
        return text
    text = _COMPOSED.sub(_decompose, text.translate(_BLACKBOARD))
    text = unicodedata.normalize("NFKC", text).translate(_SYMBOLS)
    return _ROOT.sub(
        lambda root: f"\\sqrt{_INDEX[root[1]]}{{{root[2] or root[3] or root[4] or ''}}}", text
    )


def _decompose(run: re.Match[str]) -> str:
    """Superscripts, subscripts, fractions and circled signs as LaTeX, each run as one."""
    made: list[str] = []
    last = ""
    for character in run[0]:
        mark, _, _ = unicodedata.decomposition(character).partition(" ")
        plain = unicodedata.normalize("NFKC", character)
        if character == "º":
            made.append("°")
        elif character in _VULGAR:
            made.append(" " + plain)
        elif mark not in _MARKS:
            made.append(plain)
        elif mark == last != "<circle>":
            made[-1] = f"{made[-1][:-1]}{plain}}}"
        else:
            made.append(_MARKS[mark] % plain)
        last = mark
    return "".join(made)
