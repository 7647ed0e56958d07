"""Answers inside responses: boxes and phrases, in ten languages, after some reasoning."""

from __future__ import annotations

import random
import re

from .drafts import Answer

BOXED = (
    "The answer is $\\boxed{@}$.",
    "Therefore,\n\n\\[\\boxed{@}\\]",
    "So \\(\\boxed{@}\\).",
    "$$\n\\boxed{@}\n$$",
    "**Final answer:** $\\boxed{@}$",
    "Altogether we have $\\boxed{ @ }$",
    "### Answer\n\n$\\boxed{@}$",
    "\\boxed{@}",
    "因此，答案是 $\\boxed{@}$。",
    "Also ist die Antwort $\\boxed{@}$.",
    "La réponse est donc $\\boxed{@}$.",
    "Por lo tanto, la respuesta es $\\boxed{@}$.",
    "したがって、答えは $\\boxed{@}$ です。",
    "따라서 답은 $\\boxed{@}$입니다.",
    "Итак, ответ: $\\boxed{@}$.",
    "Portanto, a resposta é $\\boxed{@}$.",
    "Quindi la risposta è $\\boxed{@}$.",
)
PHRASES = (
    "The answer is $@$.",
    "Answer: $@$",
    "**Answer:** $@$",
    "**The final answer is $@$.**",
    "Final Answer: The final answer is $@$. I hope it is correct.",
    "The final answer is \\(@\\).",
    "答案是 $@$。",
    "Die Antwort lautet $@$.",
    "La réponse est $@$.",
    "La respuesta es $@$.",
    "答えは $@$ です。",
    "정답은 $@$입니다.",
    "Ответ: $@$.",
    "A resposta é $@$.",
    "La risposta è $@$.",
)
PLAIN = ("The answer is @.", "Answer: @", "#### @", "**Answer:** @", "答案是 @。", "Ответ: @")
"""For answers that need no LaTeX."""
DRESSED = ("\\displaystyle @", "{@}", "\\,@\\,", "\\large @", "\\quad @")
AFTER = ("<|im_end|>", "\n\nI checked this twice.", "\n</s>", " ∎")
BEFORE = (
    "",
    "We check the two cases one by one.\n\n",
    "First, $k = 3$ gives $k^2 + 1 = 10$, which is what we need below.\n\n",
    "Let me simplify:\n$$u = 12 - 5 = 7.$$\n\n",
    "1. Put in the values.\n2. Simplify.\n\n",
)
THINK = (
    "",
    "<think>\nIs it $\\boxed{17}$? No. Once more, slowly.\n</think>\n\n",
    "<think>\nI try small cases: 1, 4, 9.\n</think>\n\n",
)


def wrap(answer: Answer, decoy: str, draw: random.Random) -> str:
    """A response that ends in `answer` and may mention `decoy` before, as a guess it rejects."""
    head = draw.choice(THINK) + draw.choice(BEFORE)
    if draw.random() < 0.15 and "$" not in decoy and "\n" not in decoy:
        head += f"One might guess ${decoy}$, but that forgets a case.\n\n"
    if answer.whole:
        return head + answer.text
    text = answer.text
    if re.fullmatch(r"[\w.,/+-]+", text, re.ASCII) and draw.random() < 0.3:
        return head + draw.choice(PLAIN).replace("@", text)
    if draw.random() < 0.04:
        text = draw.choice(DRESSED).replace("@", text)
    template = draw.choice(BOXED if draw.random() < 0.7 else PHRASES)
    tail = draw.choice(AFTER) if draw.random() < 0.15 else ""
    return head + template.replace("@", text) + tail
