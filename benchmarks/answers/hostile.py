"""Answers made to hang a verifier: towers, explosions, and text without end."""

from __future__ import annotations

PATHOLOGICAL = {
    "tower": r"\boxed{9^{9^{9^9}}}",
    "plain tower": r"\boxed{9^9^9^9}",
    "factorial": r"\boxed{(10^9)!}",
    "long factorial": r"\boxed{10000000!}",
    "double factorial": r"\boxed{((99)!)!}",
    "binomial": r"\boxed{\binom{10^7}{5\cdot 10^6}}",
    "long sum": r"\boxed{\sum_{k=1}^{10^9} \frac{1}{k}}",
    "long product": r"\boxed{\prod_{k=1}^{1000000} k}",
    "trinomials": r"\boxed{(a+b+c)^{90}(a+b+d)^{90}}",
    "power of a sum": r"\boxed{(x+y+z)^{99}}",
    "nested roots": r"\boxed{" + r"\sqrt{1+" * 18 + "x" + "}" * 18 + "}",
    "nested fractions": r"\boxed{" + r"\frac{1}{1+" * 18 + "x" + "}" * 18 + "}",
    "trigonometric": r"\boxed{"
    + "+".join(rf"\sin^{{{k}}}({k}x)\cos({k}y)" for k in range(2, 14))
    + "}",
    "integral": r"\boxed{\int \frac{e^{x^2}\sin(\ln x)}{1+x^7} dx}",
    "open braces": r"\boxed{" + "{" * 20_000,
    "closed braces": r"\boxed{" + "{" * 20_000 + "}" * 20_000 + "}",
    "open boxes": r"\boxed{" * 20_000,
    "open formulas": r"\( x = 1, " * 5_000,
    "megabytes": r"\( x = 1, " * 200_000 + r"\boxed{7}",
    "digits": r"\boxed{" + "7" * 100_000 + "}",
    "long list": r"\boxed{" + ",".join(map(str, range(900))) + "}",
    "big determinant": r"\boxed{\det\begin{pmatrix}"
    + r"\\".join("&".join(f"x_{{{i}{j}}}" for j in range(9)) for i in range(9))
    + r"\end{pmatrix}}",
    "solve": r"\boxed{x^{9}+y^{9}x+\sin(xy)=e^{x+y}}",
    "decimal power": r"\boxed{1.0000001^{99999999999}}",
    "nested powers": r"\boxed{((((\pi^{24})^{24})^{24})^{24})}",
    "blanks": r"\boxed{" + " " * 200_000 + "7}",
    "combining marks": "\\boxed{7" + "\u0301" * 100_000 + "}",
    "fractions in fractions": r"\boxed{" + r"\frac{1}{" * 400 + "2" + "}" * 401,
    "minus signs": r"\boxed{" + "-" * 50_000 + "7}",
    "dollars": "$" * 50_000 + "7",
    "answer phrases": "The answer is " * 20_000 + "7",
}
