"""The page docs/results/claims.md and its figure, rendered from the facts of a run (claims.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import yaml

if TYPE_CHECKING:
    from benchmarks.claims import Comparison

TRIED = Path(__file__).with_name("claims_tried.yaml")
WIDTH, LEFT, RIGHT, ROW = 760, 330, 20, 34

# Arm → (the step that generated its tokens or texts, the trainings that it needs besides the base)
ARMS = {
    "base-eval": ((), ()),
    "rl-eval": (("rl",), ("rl",)),
    "self-distilled-eval": (("samples",), ("self-distilled",)),
    "distilled-eval": (("lessons",), ("distilled",)),
    "distilled-rl-eval": (("half-lessons", "distilled-rl"), ("half-distilled", "distilled-rl")),
    "cold-rl-eval": (("cold-rl",), ("cold", "cold-rl")),
    "mixing-eval": ((), ()),
    "without-language-eval": (("without-language",), ("without-language",)),
    "with-language-eval": (("with-language",), ("with-language",)),
    "unfiltered-eval": (("samples",), ("unfiltered-sft",)),
    "only-format-eval": (("samples",), ("only-format-sft",)),
    "only-correctness-eval": (("samples",), ("only-correctness-sft",)),
    "teacher-eval": ((), ("teacher",)),
}
TAUGHT = ("distilled-eval", "distilled-rl-eval")
"""Arms that need the teacher."""

Facts = Mapping[str, Any]


def render_page(facts: Facts, rules: Mapping[str, Any], compared: Sequence[Comparison]) -> str:
    """Return the text of the page."""
    seeds, planned = facts["seeds"], facts["planned"]
    lines = [
        "# Four claims of the paper, in small",
        "",
        "<!-- Written by benchmarks/claims.py from the files of a run. Do not edit. -->",
        "",
        "Llamas of 0.17 million parameters, trained from nothing on chained sums such as",
        "`17 -6 -1 -5 _ _ _ _ _ =`. Half of all carries are dropped in the texts that they learn",
        "from, so that a model knows the right step and the wrong one. What holds here need not",
        "hold for large models; what fails here shows that a claim needs more than the method.",
        "",
        "```sh",
        "OMP_NUM_THREADS=1 factory run recipes/r1/claims/pipeline.yaml --run runs/claims \\",
        "    --trust-code",
        "python benchmarks/claims.py runs/claims --publish",
        "```",
        "",
        f"{len(planned)} seeds are planned. **This page is of {len(seeds)} whole seeds**"
        + (f" ({', '.join(map(str, seeds))})" if seeds else "")
        + (
            f" and parts of {len(facts['partial'])} more ({', '.join(map(str, facts['partial']))})"
            if facts["partial"]
            else ""
        )
        + f". All steps took {facts['seconds'] / 60:.0f} minutes of wall-clock time, on a machine "
        "shared with other work.",
        "",
        "## Outcomes",
        "",
        render_table(compared),
        "",
        "![Differences per seed](../images/claims.svg)",
        "",
        "Each dot is one seed: its base model, its samples and its trainings. Bars are 95%",
        "intervals over seeds, before correction. The decision is a two-sided t-test",
        "against the margin with Holm's correction over all comparisons at "
        f"{rules['alpha']:.0%}, and with fewer",
        f"than {rules['least_seeds']} seeds always",
        "*inconclusive*. The teacher and the texts are the same for all seeds. Margins and rule",
        "were written down before the run, in `benchmarks/claims_rules.yaml`.",
        "",
        "| comparison | differences by seed |",
        "| --- | --- |",
        *(f"| {one.says} | {_format_dots(one)} |" for one in compared),
        "",
    ]
    lines += ["## Claim 3's gates", "", _describe_gates(facts, rules["gates"]), ""]
    lines += _render_arms(facts)
    lines += _render_steps(facts, rules)
    lines += _render_again(facts, rules)
    lines += _render_smollm2(facts, rules)
    lines += _render_settings(facts)
    return "\n".join(lines) + "\n"


def render_table(compared: Sequence[Comparison]) -> str:
    """Return the table of outcomes, for the page and the index of results."""
    rows = [
        f"| {one.claim} | {one.says} | {_format_value(one)} | {_format_margin(one)} | "
        f"{len(one.differences)} | {'–' if one.p is None else f'{one.p:.2g}'} | {one.outcome} |"
        for one in compared
    ]
    head = "| | comparison | difference [95%] | margin | seeds | p (Holm) | outcome |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


def _scale(one: Comparison) -> tuple[float, str]:
    """Return the factor and unit of a comparison: shares are shown in points."""
    return (1.0, "steps") if abs(one.margin) >= 1 else (100.0, "points")


def _format_value(one: Comparison) -> str:
    if one.value is None:
        return "–"
    scale, unit = _scale(one)
    interval = ""
    if one.low is not None and one.high is not None:
        interval = f" [{one.low * scale:.1f}, {one.high * scale:.1f}]"
    return f"{one.value * scale:+.1f} {unit}{interval}"


def _format_margin(one: Comparison) -> str:
    scale, _ = _scale(one)
    return f"{one.margin * scale:+.0f}"


def _format_dots(one: Comparison) -> str:
    scale, unit = _scale(one)
    shown = ", ".join(f"{value * scale:+.1f}" for value in one.differences)
    return f"{shown} {unit}" if shown else "–"


def _describe_gates(facts: Facts, gates: Mapping[str, Any]) -> str:
    """Return a paragraph about what claim 3 needs to be testable."""
    from benchmarks.claims import find_closed_gates

    closed, known = find_closed_gates(facts, gates), facts["foreign"]
    below = mean(value < gates["foreign_below"] for value in known) if known else 0.0
    mixing = [one["sums"] for one in _figures(facts, "mixing-eval")]
    start = f"{1 - mean(one['language'] for one in mixing):.0%}" if mixing else "–"
    found = (
        f"The meter scores {below:.1%} of {len(known)} texts known to be German below "
        f"{gates['foreign_below']} (at least {gates['foreign_share']:.0%} is asked). The model "
        f"that RL starts from writes {start} foreign words ({gates['mixing'][0]:.0%} to "
        f"{gates['mixing'][1]:.0%} is asked)"
    )
    if "least_accuracy" in gates:
        right = f"{mean(one['pass@1'] for one in mixing):.0%}" if mixing else "–"
        found += f" and is right on {right} (at least {gates['least_accuracy']:.0%} is asked)"
    if closed:
        return f"{found}. So claim 3 is not testable: {'; '.join(closed)}."
    return f"{found}. All gates are open."


def _render_again(facts: Facts, rules: Mapping[str, Any]) -> list[str]:
    """Return the section about claim 3's second run; nothing where there is none."""
    from benchmarks.claims import rules_of

    if "again" not in facts:
        return []
    again = facts["again"]
    return [
        "## Claim 3 again",
        "",
        "In the first run claim 3's base models are right on very different shares of the sums,",
        "one on 6%, and who is right on 6% has nothing to lose. RL's learning rate came from the",
        "plain sums. So there is a second run, with seeds of its own, base models trained twice as",
        "long, and a learning rate chosen on sums of this kind: `recipes/r1/claims/language.yaml`.",
        "It was decided when four seeds of the first run were seen, and before any of its own.",
        "Margins and rule are the same, and the first run's rows stand as they came out.",
        "",
        f"{len(again['planned'])} seeds are planned; this page has {len(again['seeds'])} whole "
        f"ones. {_describe_gates(again, rules_of(rules, 'again')['gates'])}",
        "",
        *_tabulate_arms(again),
        "",
    ]


def _render_smollm2(facts: Facts, rules: Mapping[str, Any]) -> list[str]:
    """Return the section about claims 1 and 4 with SmolLM2; nothing where there is no such run."""
    from benchmarks.claims import decide_other, rules_of

    if "smollm2" not in facts:
        return []
    own, least = facts["smollm2"], rules_of(rules, "smollm2")["least_seeds"]
    compared = decide_other(facts, rules, "smollm2")
    whole, partial = (", ".join(map(str, own[key])) or "none" for key in ("seeds", "partial"))
    prompts = {one["sums"].get("prompts", 0) for one in _figures(own, "base-eval")}
    return [
        "## Claims 1 and 4 with SmolLM2",
        "",
        "A check outside of the small world: SmolLM2-135M-Instruct, a public model, on sums of two",
        "numbers of one or two digits from a public task set. By itself it lacks the form, so the",
        "base is this model after a short cold start on solutions of which some slip, some guess",
        "and some never end their thinking. The teacher is no larger model: it is the base, taught",
        "longer, on solutions without faults. Cold start and teacher are the same for all seeds.",
        "",
        "```sh",
        "OMP_NUM_THREADS=1 factory run recipes/r1/claims/smollm2.yaml --run runs/smollm2 \\",
        "    --trust-code",
        "python benchmarks/claims.py --smollm2 runs/smollm2 --publish",
        "```",
        "",
        f"{len(own['planned'])} seeds are planned. **Whole seeds: {whole}**; in part: {partial}. "
        f"All steps took {own['seconds'] / 60:.0f} minutes,",
        "on one thread of a busy machine. Margins and rule were written down before the run; with",
        f"fewer than {least} seeds a comparison is always *inconclusive*.",
        "",
        render_table(compared),
        "",
        "| comparison | differences by seed |",
        "| --- | --- |",
        *(f"| {one.says} | {_format_dots(one)} |" for one in compared),
        "",
        f"Means over seeds, on {max(prompts, default=0)} held-out sums with four samples each at "
        "temperature 1. *Teacher*:",
        "thousands of tokens of the teacher's fine-tuning beyond the base's.",
        "",
        *_tabulate_arms(own),
        "",
        yaml.safe_load(TRIED.read_text(encoding="utf-8"))["smollm2"].strip(),
        "",
    ]


def _figures(facts: Facts, arm: str) -> list[Mapping[str, Any]]:
    return list(facts["arms"].get(arm, {"by_seed": {}})["by_seed"].values())


def _render_arms(facts: Facts) -> list[str]:
    """Return the table of arms: mean over seeds of every figure, and what each arm cost."""
    return [
        "## Arms",
        "",
        "Means over seeds, on 200 held-out sums with four samples each at temperature 1, all asked",
        "the same way. *Longer*: pass@1 on 100 sums of 7 and 8 steps, lengths that no model was",
        "trained on. *Generated*: thousands of tokens that the arm's model, or its teacher, wrote",
        "for the training. *Trained*: thousands of tokens of fine-tuning, prompts included.",
        "*Teacher*: thousands of tokens of the teacher's own pre-training, with 2.2 times the",
        "parameters.",
        "",
        *_tabulate_arms(facts),
        "",
    ]


def _tabulate_arms(facts: Facts) -> list[str]:
    """Return a row per arm of a run."""
    teacher = _mean([one.get("trained", 0) for one in _figures(facts, "teacher")])
    lines = [
        "| arm | seeds | pass@1 | per seed | pass@4 | longer | format | language | generated | "
        "trained | teacher |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for arm, (sources, trainings) in ARMS.items():
        found = _figures(facts, arm)
        if not found:
            continue
        sums = [one["sums"] for one in found]
        longer = [one["longer"]["pass@1"] for one in found if "longer" in one]
        generated = sum(_mean([o.get("generated", 0) for o in _figures(facts, s)]) for s in sources)
        trained = sum(_mean([o.get("trained", 0) for o in _figures(facts, s)]) for s in trainings)
        lines.append(
            f"| {facts['arms'][arm]['title']} | {len(found)} | "
            f"{_percent([one['pass@1'] for one in sums])} | "
            f"{', '.join(_percent([one['pass@1']]) for one in sums)} | "
            f"{_percent([one['pass@4'] for one in sums])} | "
            f"{_percent(longer) if longer else '–'} | "
            f"{_percent([one['format'] for one in sums])} | "
            f"{_percent([one['language'] for one in sums])} | "
            f"{_thousands(generated)} | {_thousands(trained)} | "
            f"{_thousands(teacher) if arm in TAUGHT else '–'} |"
        )
    return lines


def _render_steps(facts: Facts, rules: Mapping[str, Any]) -> list[str]:
    from benchmarks.claims import count_steps

    rule = rules["comparisons"]["cold_start_is_sooner"]
    lines = [
        "## Claim 2, per seed",
        "",
        f"Steps of RL until the mean accuracy of {rule['window']} steps is {rule['reach']:.0%}. A",
        "step's accuracy is measured before its update, on sums that no earlier step has shown.",
        "The cold start has 96 solutions of sums from a part of their own.",
        "",
        "| seed | without | after the cold start |",
        "|---|---|---|",
    ]
    arms = [facts["arms"].get(arm, {"by_seed": {}})["by_seed"] for arm in rule["arms"]]
    for seed in sorted(arms[0].keys() & arms[1].keys(), key=int):
        counts = [count_steps(arm[seed]["accuracy"], rule["reach"], rule["window"]) for arm in arms]
        ends = [len(arm[seed]["accuracy"]) for arm in arms]
        shown = [
            f"never in {end}" if count > end else str(count)
            for count, end in zip(counts, ends, strict=True)
        ]
        lines.append(f"| {seed} | {shown[0]} | {shown[1]} |")
    return [*lines, ""]


def _render_settings(facts: Facts) -> list[str]:
    tried = yaml.safe_load(TRIED.read_text(encoding="utf-8"))
    lines = [
        "## Every setting that was tried",
        "",
        tried["how"].strip(),
        "",
        "| setting | value | pass@1 there | chosen |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {one['setting']} | {one['value']} | {one['result']} | {_yes(one['chosen'])} |"
        for one in tried["tried"]
    ]
    lines += ["", tried["before"].strip(), "", "Seen in the run:", tried["seen"].strip(), ""]
    lines += ["## Not run", "", tried["not_run"].strip(), ""]
    lines += ["## Settings of every step", ""]
    lines += ["The recipes as they ran, of the first seed.", "", "```json"]
    lines += [
        f"{json.dumps(name)}: {json.dumps(settings, sort_keys=True)}"
        for name, settings in sorted(facts["settings"].items())
    ]
    return [*lines, "```"]


def _mean(values: Sequence[float]) -> float:
    return mean(values) if values else 0.0


def _percent(values: Sequence[float]) -> str:
    return f"{100 * mean(values):.1f}"


def _yes(chosen: bool) -> str:
    return "yes" if chosen else ""


def _thousands(value: float) -> str:
    return f"{value / 1000:.0f}" if value else "–"


def render_figure(compared: Sequence[Comparison]) -> str:
    """Return an SVG: a row per comparison, a dot per seed, the interval, and the margin."""
    height = ROW * (len(compared) + 1) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="13">',
        "<title>Differences per seed, with 95% intervals and margins</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for row, one in enumerate(compared):
        y = ROW * row + 30
        values = [*one.differences, one.margin, 0.0]
        values += [one.low] if one.low is not None else []
        values += [one.high] if one.high is not None else []
        low, high = min(values), max(values)
        span = (high - low) or 1.0

        def place(value: float, low: float = low, span: float = span) -> float:
            return round(LEFT + 10 + (value - low) / span * (WIDTH - LEFT - RIGHT - 20), 1)

        scale, unit = _scale(one)
        parts.append(f'<text x="8" y="{y + 4}" fill="#222222">{escape(one.says)}</text>')
        zero, margin = place(0.0), place(one.margin)
        parts.append(
            f'<line x1="{zero}" x2="{zero}" y1="{y - 12}" y2="{y + 12}" stroke="#bbbbbb"/>'
            f'<line x1="{margin}" x2="{margin}" y1="{y - 12}" y2="{y + 12}" stroke="#d06000" '
            f'stroke-width="2"><title>margin {one.margin * scale:+.0f} {unit}</title></line>'
        )
        if one.low is not None and one.high is not None:
            parts.append(
                f'<line x1="{place(one.low)}" x2="{place(one.high)}" y1="{y}" y2="{y}" '
                f'stroke="#777777" stroke-width="3"/>'
            )
        parts += [
            f'<circle cx="{place(value)}" cy="{y}" r="4" fill="#1f5fbf" fill-opacity="0.7">'
            f"<title>{value * scale:+.1f} {unit}</title></circle>"
            for value in one.differences
        ]
    note = "grey: no difference; orange: the margin; each row has its own scale"
    parts.append(f'<text x="{LEFT}" y="{height - 10}" fill="#777777">{note}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
