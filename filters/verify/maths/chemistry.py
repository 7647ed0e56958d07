"""Chemical formulas: H_2O, \\ce{CuSO4}, \\text{Fe}^{3+}, compared as they are written.

A formula is read where nothing else can be: letters that are elements, counts, brackets, a charge.
"""

from __future__ import annotations

import re

from filters.verify.maths.vocabulary import word_set

MAX_FORMULA = 120

ELEMENTS = word_set("""
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb
Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf
Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
""")

_MARKUP = re.compile(r"\\(?:ce|text|mathrm|mathsf|rm)(?![A-Za-z])|[{}\s~_]")
_FORMULA = re.compile(
    r"\d{0,2}(?P<body>(?:[A-Z][a-z]?\d{0,3}|[(\[](?:[A-Z][a-z]?\d{0,3})+[)\]]\d{0,3})+)"
    r"(?P<charge>\^\d?[+-])?"
)
_ELEMENT = re.compile(r"[A-Z][a-z]?")


def read_formula(text: str) -> str | None:
    """A chemical formula in one spelling; None of anything else, and of a lone symbol.

    >>> read_formula(r"\\text{H}_2\\text{O}"), read_formula("H_2 O"), read_formula("P V")
    ('H2O', 'H2O', 'PV')
    """
    if len(text) > MAX_FORMULA:
        return None
    written = _MARKUP.sub("", text)
    found = _FORMULA.fullmatch(written)
    if found is None:
        return None
    elements = _ELEMENT.findall(found["body"])
    lone = len(elements) == 1 and found["body"].isalpha() and not found["charge"]
    return written if ELEMENTS.issuperset(elements) and not lone else None
