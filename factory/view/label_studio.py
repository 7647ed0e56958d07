"""Label Studio: export a run's samples as tasks, import annotations as reviews.

File format: https://labelstud.io/guide/task_format. A task carries the model's text as a
prediction, so that the text areas are filled in when it opens. An annotation is one annotator's
decision, with the text as the annotator left it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import quoteattr

import polars as pl

from factory.core.errors import RunError, SourceError
from factory.core.files import write_atomic
from factory.core.think import split_think
from factory.judging.review_verdicts import REASONS
from factory.judging.reviews import FILE, Reviews, StaleReview
from factory.report.browse import find_samples
from factory.view.import_reviews import Recorder

QUESTION, THINKING, RESPONSE, DECISION, REASON = (
    "question",
    "thinking",
    "response",
    "decision",
    "reason",
)
"""Tag names of the labelling interface; results refer to them as `from_name`."""


def labeling_config() -> str:
    """Return the XML of the labelling interface, to be pasted into a project's settings."""
    reasons = "".join(f"\n    <Choice value={quoteattr(reason)}/>" for reason in REASONS)
    area = f'toName="{QUESTION}" editable="true" maxSubmissions="1"'
    return f"""<View>
  <Header value="Question"/>
  <Text name="{QUESTION}" value="$question"/>
  <Header value="Reasoning (change it only where it is hard to read)"/>
  <TextArea name="{THINKING}" {area} rows="20"/>
  <Header value="Summary"/>
  <TextArea name="{RESPONSE}" {area} rows="8"/>
  <Choices name="{DECISION}" toName="{QUESTION}" choice="single" required="true">
    <Choice value="accept"/>
    <Choice value="reject"/>
  </Choices>
  <Choices name="{REASON}" toName="{QUESTION}" choice="single" visibleWhen="choice-selected"
           whenTagName="{DECISION}" whenChoiceValue="reject">{reasons}
  </Choices>
</View>
"""


def export_tasks(
    run: Path,
    out: Path,
    *,
    decision: str | None = "keep",
    reason: str | None = None,
    source: str | None = None,
    limit: int = 1000,
    seed: int = 0,
) -> int:
    """Write samples of a judged run as tasks to `out`, and the interface's XML next to it.

    Draws at most `limit` of the matching samples at random, as `factory samples` does. An edited
    sample is exported with its edit. Returns the number of tasks. Raises RunError if none matches.
    """
    found = find_samples(
        run, reason=reason, decision=decision, source=source, limit=limit, seed=seed
    )
    rows = [sample.row(0, named=True) for sample in found]
    questions = _questions(run, {row["prompt_id"] for row in rows})
    reviews = Reviews(run) if (run / FILE).exists() else None
    tasks = []
    for row in rows:
        sample_id = f"{row['prompt_id']}-{row['index']}"
        edit = reviews.standing(sample_id).edit if reviews else None
        thinking, response, _ = split_think(row["text"])
        if edit is not None:
            thinking, response = edit.thinking, edit.response
        data = {
            "sample_id": sample_id,
            "version": edit.id if edit else 0,
            "source": row["source"],
            QUESTION: questions[row["prompt_id"]],
            THINKING: (thinking or "").strip(),
            RESPONSE: (response or "").strip(),
        }
        tasks.append({"data": data, "predictions": [_prediction(data)]})
    write_atomic(out, json.dumps(tasks, ensure_ascii=False, indent=1) + "\n")
    write_atomic(out.with_suffix(".xml"), labeling_config())
    return len(tasks)


def _questions(run: Path, prompt_ids: Iterable[str]) -> dict[str, str]:
    """Return each prompt as text by its id; a prompt of several turns is shown with its roles."""
    prompts = pl.scan_parquet(run / "prompts.parquet").select("id", "messages")
    found = {}
    for name, messages in prompts.filter(pl.col("id").is_in(list(prompt_ids))).collect().rows():
        turns = [f"{turn['role'].upper()}: {turn['content']}" for turn in messages]
        found[name] = messages[0]["content"] if len(messages) == 1 else "\n\n".join(turns)
    return found


def _prediction(data: Mapping[str, Any]) -> dict[str, Any]:
    results = [
        {
            "id": name,
            "from_name": name,
            "to_name": QUESTION,
            "type": "textarea",
            "value": {"text": [data[name]]},
        }
        for name in (THINKING, RESPONSE)
        if data[name]  # Label Studio shows an empty submission as a separate line
    ]
    return {
        "model_version": "as sampled" if not data["version"] else "as edited",
        "result": results,
    }


@dataclass
class ImportReport:
    """Counts of the imported annotations, and the samples that need attention."""

    accepted: int = 0
    rejected: int = 0
    edited: int = 0  # accepted or rejected with a changed text
    known: int = 0  # imported before
    skipped: int = 0  # cancelled, or without a decision
    flagged: dict[str, tuple[str, ...]] = field(default_factory=dict)  # edits filters would drop
    stale: list[str] = field(default_factory=list)  # edited by someone else since the export
    absent: list[str] = field(default_factory=list)  # samples that the run does not have

    def format_lines(self) -> Iterator[str]:
        yield (
            f"{self.accepted} accepted and {self.rejected} rejected, {self.edited} of them edited; "
            f"{self.known} imported before, {self.skipped} without a decision"
        )
        for sample_id, flags in self.flagged.items():
            yield f"{sample_id}: the edit is flagged by the run's filters: {', '.join(flags)}"
        for sample_id in self.stale:
            yield f"{sample_id}: edited by someone else since the export; export it again"
        for sample_id in self.absent:
            yield f"{sample_id}: the run has no such sample"


def import_annotations(run: Path, file: Path) -> ImportReport:
    """Store the annotations of a Label Studio export (JSON) as reviews by `label-studio:<user>`.

    If a file is imported again, or has grown since, only its new annotations are stored. Raises
    SourceError if the file is not such an export; nothing is stored then.
    """
    annotations = list(_read_annotations(file))
    recorder, imported = Recorder(run), ImportReport()
    for one in sorted(annotations, key=lambda one: one.created_at):
        if one.choice is None:
            imported.skipped += 1
            continue
        text = (one.thinking, one.response) if one.changed else (None, None)
        try:
            recorded = recorder.record(
                one.sample_id,
                f"label-studio:{one.user}",
                "accept" if one.choice == "accept" else "reject",
                reason=one.reason,
                thinking=text[0],
                response=text[1],
                base=one.version,
            )
        except StaleReview:
            imported.stale.append(one.sample_id)
            continue
        except RunError:
            imported.absent.append(one.sample_id)
            continue
        if not recorded.new:
            imported.known += 1
            continue
        imported.accepted += one.choice == "accept"
        imported.rejected += one.choice == "reject"
        imported.edited += one.changed
        if recorded.flags:
            imported.flagged[one.sample_id] = recorded.flags
    return imported


class Annotation(NamedTuple):
    """One annotator's decision on one sample. The texts are those the annotator left."""

    sample_id: str
    version: int
    user: str
    created_at: str
    choice: str | None
    reason: str | None
    thinking: str | None
    response: str | None
    changed: bool


def _read_annotations(file: Path) -> Iterator[Annotation]:
    try:
        tasks = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(tasks, list):
        raise SourceError(f"{file} holds no list of tasks; export the project as JSON")
    for number, task in enumerate(tasks, 1):
        try:
            data = task["data"]
            for annotation in task["annotations"]:
                yield _parse_annotation(data, annotation)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise SourceError(
                f"{file}, task {number}: not a task of a run with its annotations "
                f"({type(error).__name__}: {error}); export the project as JSON (not JSON-MIN)"
            ) from error


def _parse_annotation(data: Mapping[str, Any], annotation: Mapping[str, Any]) -> Annotation:
    values = {item["from_name"]: item["value"] for item in annotation["result"]}
    thinking, response = (  # a text area without a result was not changed
        "\n".join(values[name]["text"]).strip() if name in values else data[name]
        for name in (THINKING, RESPONSE)
    )
    user = annotation.get("completed_by")
    if isinstance(user, Mapping):
        user = user.get("email") or user["id"]
    return Annotation(
        sample_id=data["sample_id"],
        version=int(data["version"]),
        user=str(user if user is not None else "unknown"),
        created_at=str(annotation.get("created_at", "")),
        choice=None if annotation.get("was_cancelled") else _first_choice(values.get(DECISION)),
        reason=_first_choice(values.get(REASON)),
        thinking=thinking or None,
        response=response,
        changed=(thinking, response) != (data[THINKING], data[RESPONSE]),
    )


def _first_choice(value: Mapping[str, Sequence[str]] | None) -> str | None:
    chosen = value.get("choices") if value else None
    return chosen[0] if chosen else None
