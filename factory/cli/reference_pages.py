"""The reference pages that are no recipe's: commands, rows, errors, metrics and reasons."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click
import polars as pl
import yaml
from pydantic import ValidationError

from factory.cli import SECTIONS, cli
from factory.cli.reference_recipes import MADE, cell, examples, prose
from factory.core import errors
from factory.corpus.rows import corpus_schema
from factory.judging.review_verdicts import REASONS
from filters import FILTERS, filter_class
from filters.base import INPUT_COLUMNS, Filter, turns_type


def commands() -> str:
    """`--help` of every command, in the order of their use."""
    lines = ["# Commands", "", MADE, ""]
    lines += [
        "Results go to stdout, diagnostics to stderr. RECIPE is a file, or the name of a shipped",
        "recipe, such as `quickstart` or `r1/mini/data`. What each exit code means:",
        "[errors and exit codes](errors-and-exit-codes.md).",
        "",
    ]
    lines += _help("factory", cli)
    for section, members in SECTIONS.items():
        lines += [f"## {section}", ""]
        for command in members:
            lines += [f"### factory {command.name}", "", *_help(f"factory {command.name}", command)]
    return "\n".join(lines).rstrip() + "\n"


def _help(path: str, command: click.Command) -> list[str]:
    context = click.Context(
        command, info_name=path, terminal_width=88, max_content_width=88, **cli.context_settings
    )
    return ["```text", f"$ {path} --help", command.get_help(context), "```", ""]


def error_page() -> str:
    """Every error class a user can meet, and the exit code of the process."""
    lines = ["# Errors and exit codes", "", MADE, ""]
    lines += [
        "An error that a user can act on is a `FactoryError`. Its message names the place, the",
        "value and the remedy. A command prints it to stderr without a traceback and exits with",
        "its code. A traceback is always a bug in the factory.",
        "",
        "| exit code | error | meaning |",
        "|---|---|---|",
        "| 0 | | done |",
        "| 1 | any other exception | a bug in the factory; please report it |",
    ]
    for error in sorted(_errors(errors.FactoryError), key=lambda error: error.exit_code):
        about = cell((inspect.getdoc(error) or "").split("\n\n")[0])
        lines.append(f"| {error.exit_code} | `{error.__name__}` | {about} |")
    lines += [
        "| 2 | a wrong option or argument | the command line cannot be read |",
        "| 130 | `Stopped`, Ctrl-C | interrupted; everything finished is safe |",
        "",
        "After exit codes 3, 5 and 130 the same command continues where it stopped.",
    ]
    return "\n".join(lines) + "\n"


def _errors(base: type[errors.FactoryError]) -> Iterator[type[errors.FactoryError]]:
    for error in base.__subclasses__():
        if error.__module__ == errors.__name__:
            yield error
            yield from _errors(error)


def metric_page() -> str:
    """Every filter's metrics and reasons, with the limits of its defaults."""
    lines = ["# Metrics and reasons", "", MADE, "", _METRICS, ""]
    for name in FILTERS:
        judge = _instance(name)
        lines += [f"## `{name}`", "", prose(type(judge)), ""]
        lines += ["| reason | decision | metric | required |", "|---|---|---|---|"]
        for rule in judge.rules():
            bound = cell(rule.bound)
            lines.append(f"| `{rule.reason}` | {rule.decision} | `{rule.metric}` | {bound} |")
        lines += ["", "| metric | type |", "|---|---|"]
        measured = judge.measure(pl.DataFrame(schema=_INPUT)).drop("sample_id").schema
        lines += [f"| `{metric}` | `{kind}` |" for metric, kind in measured.items()]
        lines.append("")
    lines += [
        "## Reviews",
        "",
        "A sample that reviewers rejected is dropped with one of these:",
        "",
    ]
    lines += [f"- `reviewer_{reason.replace(' ', '_')}`" for reason in REASONS]
    return "\n".join(lines).rstrip() + "\n"


_METRICS = """\
A filter measures metrics (expensive, cached) and decides by rules over them (free). The first rule
that holds gives the reason. The limits below are the defaults; a rule that is off by default is
missing. `factory explain RUN SAMPLE_ID` shows every metric of a sample next to its limit.

A rule may also read the columns that every sample has: `finish_reason`, `n_tokens`, `domain`,
`source` and `language`."""

_INPUT = dict.fromkeys(INPUT_COLUMNS, pl.String()) | {
    "index": pl.Int64(),
    "n_tokens": pl.Int64(),
    "cot": pl.Boolean(),
    "turns": turns_type(),
}


def _instance(name: str) -> Filter:
    """A filter with its defaults; with its example's keys where it has required ones."""
    try:
        return filter_class(name)()
    except ValidationError:
        keys = yaml.safe_load(examples()[f"filters.{name}"])["filters"][name]
        return filter_class(name).model_validate(keys)


def row_page() -> str:
    """The columns of a corpus."""
    lines = ["# A corpus row", "", MADE, ""]
    lines += [
        "A corpus is Parquet: `runs/NAME/corpus/SPLIT-00000-of-000NN.parquet`. One row is one "
        "sample.",
        "",
        "| column | type | meaning |",
        "|---|---|---|",
    ]
    lines += [
        f"| `{field.name}` | `{cell(str(field.type))}` | {COLUMNS[field.name]} |"
        for field in corpus_schema()
    ]
    lines += ["", _ROW_READ]
    return "\n".join(lines) + "\n"


COLUMNS = {
    "id": "the sample's id: `PROMPT_ID-INDEX`",
    "prompt_id": "the prompt's id, a hash of its content",
    "index": "which of its prompt's samples it is, from 0",
    "messages": "the conversation; the last turn is the assistant's reasoning and response",
    "thinking": "the reasoning, as sampled; null where there is none",
    "response": "what follows the reasoning, as sampled",
    "answer": "the reference answer, or null",
    "extracted_answer": "what the verifier read in the response",
    "domain": "the prompt's domain",
    "source": "the prompt's source",
    "also_in": "other sources that hold the same prompt",
    "language": "the prompt's language, ISO 639-1: given or detected; null where it does not show",
    "license": "the prompt's licence, an SPDX id; null where the source names none",
    "n_tokens": "generated tokens, the model's own count",
    "n_prompt_tokens": "prompt tokens, the model's own count",
    "pass_rate": "share of the prompt's judged samples that are correct",
    "n_samples": "all samples of the prompt",
    "n_correct": "its correct samples",
    "score": "the metric that `select.score` names, or null",
    "model": "the model that wrote the sample",
    "sampling": "every setting that changes a sample, as JSON",
    "prompt_text": "the exact text the model was given before the assistant's turn",
    "finish_reason": "how the generation ended: `stop` or `length`",
    "created_at": "when the generation ended",
    "verdicts": "every filter's own decision and reason",
    "meta": "what the prompt's row held besides, and who reviewed the sample, as JSON",
}
"""The meaning of each column of a corpus row."""

_ROW_READ = """\
Rows of a run with tools or environments have two more columns: `tools`, the functions that the
model was offered, as JSON, and `n_prompt_messages`, how many of the messages are the prompt's.
Their `messages` also have `tool_calls` (`id`, `type`, `function`: `name` and `arguments`, as JSON),
and `name` and `tool_call_id` of what a tool answered.

Read it with any Parquet reader:

```python
import datasets

rows = datasets.load_dataset("parquet", data_files="runs/quickstart/corpus/*.parquet")["train"]
```"""
