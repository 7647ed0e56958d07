"""Renders a prompt's messages to the exact text that a model continues.

Four templates: `chat` (the model's own), `r1_zero` (R1 Table 1: describes only the format to a base
model), `few_shot` (R1 §2.3.1: long-CoT exemplars, to collect a cold start) and `rewrite` (R1
§2.3.1: another model makes an R1-Zero output readable).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from string import Template
from typing import Any, Literal, NamedTuple, Protocol

from jinja2 import TemplateError
from pydantic import BaseModel, ConfigDict, Field, model_validator

from factory.core.errors import ModelError, Problem, RecipeError, SourceError
from factory.core.nouns import R1_DOMAINS, Message, Prompt
from factory.core.resources import data_path
from factory.core.think import THINK_OPEN, join_think
from factory.core.yaml_files import read_yaml
from factory.prompts.chain_of_thought import Cot, wants_cot
from factory.prompts.variants import Variant, pick_variant

R1_ZERO = (
    "The following is a conversation between a User and an Assistant. The User asks a question and "
    "the Assistant solves it. The Assistant first works through the reasoning in its mind and then "
    "gives the User the answer. The reasoning stands inside <think> </think> tags and the answer "
    "inside <answer> </answer> tags, like this: <think> reasoning here </think> <answer> answer "
    "here </answer>.\nUser: {question}\nAssistant:"
)

BOXED = "Please reason step by step, and put your final answer within \\boxed{}."

CODE = "Please reason step by step, and give the whole program in one code block at the end."

SHORT_INSTRUCTIONS = {"boxed": BOXED, "code": CODE}
"""Names of instructions of one sentence → their texts."""

SHIPPED_INSTRUCTIONS = {"reflect": "cot/reflect.txt", "think": "cot/think.txt"}
"""Names of shipped instructions → their files."""

DRAFT = "draft"
"""Key of the draft in a prompt's meta, for `rewrite`: {"sample_id", "text"}."""


class Rendered(NamedTuple):
    """A model's input: `prompt_text`, then `prefill`, which counts as part of its output."""

    prompt_text: str
    prefill: str
    special_tokens: bool  # False: a chat template has already added them


class ChatTokenizer(Protocol):
    """The part of a transformers tokenizer that rendering needs."""

    chat_template: Any

    def apply_chat_template(self, conversation: list[Message], **kwargs: Any) -> Any: ...


class Prompting(BaseModel):
    """How a prompt is rendered to the text that the model continues."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: Literal["chat", "r1_zero", "few_shot", "rewrite"] = Field(
        "chat",
        description="`chat`: the model's own chat template. `r1_zero`: R1's plain-text template "
        "for base models. `few_shot`: worked examples before the question. `rewrite`: a request in "
        "the model's chat template to make a draft readable; for sources of `kind: drafts`.",
    )
    system: str | None = Field(None, description="System message (`chat` and `rewrite` only).")
    instruction: str | None = Field(
        None,
        description="Text added on a new line after the question. `boxed`: R1's request to reason "
        "step by step and box the answer. `code`: asks for a program in a code block. `reflect`: "
        "asks for reflection, verification and a summary. `think`: asks for reasoning before any "
        "answer.",
    )
    instructions: dict[str, str | None] = Field(
        default_factory=dict,
        description="Instructions by domain or by name of a source, which goes first, in place of "
        "`instruction`; null: none. `{code: code, general: null}`.",
    )
    exemplars: Path | None = Field(
        None,
        description="`few_shot` only: YAML list of {question, thinking, response}. Default: the "
        "shipped long-CoT arithmetic examples.",
    )
    request: Path | None = Field(
        None,
        description="`rewrite` only: text file with ${question} and ${draft}. Default: the shipped "
        "data/rewrite/readable.txt.",
    )
    prefill: str = Field("", description='Start of the model\'s reply, such as "<think>\\n".')
    variants: dict[str, Variant] = Field(
        default_factory=dict,
        description="Two or more wordings by name, of which each sample gets one, by a hash of its "
        "prompt and number. `factory eval` reports the spread. `{plain: {}, few: {exemplars: …}}`.",
    )
    cot: Cot | None = Field(
        None,
        description="Which prompts get a chain of thought, decided when they are loaded. The "
        "others get no instruction and no prefill, and exemplars without reasoning. `{}`: use the "
        "shipped rule list. Default: all prompts get one.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Prompting:
        if self.exemplars and self.template != "few_shot":
            raise ValueError("exemplars need `template: few_shot`")
        if self.request and self.template != "rewrite":
            raise ValueError("request needs `template: rewrite`")
        if self.system and not self.is_chat:
            raise ValueError(
                "system needs `template: chat`; the other templates have no system turn"
            )
        if len(self.variants) == 1:
            raise ValueError("variants has one entry; give two or more, or none")
        for name, variant in self.variants.items():
            self._check_variant(name, variant)
        if self.cot and self.template in ("r1_zero", "rewrite"):
            raise ValueError(
                f"cot does not go with `template: {self.template}`, which always uses one"
            )
        return self

    def _check_variant(self, name: str, variant: Variant) -> None:
        if variant.system and not self.is_chat:
            raise ValueError(f"variants.{name}.system needs `template: chat`")
        if variant.exemplars and self.template not in ("chat", "few_shot"):
            raise ValueError(f"variants.{name}.exemplars needs `template: chat` or `few_shot`")

    def pick_variant(self, prompt_id: str, index: int) -> str | None:
        """Return the name of the variant that a sample gets; None without variants."""
        return pick_variant(list(self.variants), prompt_id, index) if self.variants else None

    def with_variant(self, name: str | None) -> Prompting:
        """Return the prompting of a variant; None: this one."""
        if name is None:
            return self
        if name not in self._varied:
            own = {key: getattr(self, key) for key in type(self).model_fields}
            update = {**self.variants[name].overrides(), "variants": {}}
            # Not validated: a chat variant may have exemplars, which a recipe's own chat has not.
            # And not copied, which would copy the rendered examples too.
            self._varied[name] = type(self).model_construct(**own | update)
        return self._varied[name]

    @cached_property
    def _varied(self) -> dict[str, Prompting]:
        return {}

    @property
    def is_chat(self) -> bool:
        """Whether the model's own chat template is used."""
        return self.template in ("chat", "rewrite")

    @property
    def stop(self) -> tuple[str, ...]:
        """Stop strings of plain-text templates, at the start of the next user turn."""
        return {
            "chat": (),
            "r1_zero": ("\nUser:", "</answer>"),
            "few_shot": ("\n***", "\nQuestion:"),
            "rewrite": (),
        }[self.template]

    @cached_property
    def _examples(self) -> str:
        return self._render_examples(thoughts=True)

    @cached_property
    def _plain_examples(self) -> str:
        return self._render_examples(thoughts=False)

    def _render_examples(self, thoughts: bool) -> str:
        file = self.exemplars or data_path("few_shot/arithmetic.yaml")
        return "".join(_render_exemplar(item, thoughts) for item in read_exemplars(file))

    @cached_property
    def _earlier_turns(self) -> list[Message]:
        """The exemplars as turns of a conversation; chat templates have no room for thinking."""
        turns = []
        for item in read_exemplars(self.exemplars or data_path("few_shot/arithmetic.yaml")):
            turns.append(Message(role="user", content=item["question"].strip()))
            turns.append(Message(role="assistant", content=item["response"].strip()))
        return turns

    @cached_property
    def _request(self) -> Template:
        return read_request(self.request or data_path("rewrite/readable.txt"))

    def instruction_for(self, prompt: Prompt) -> str | None:
        """Return the text of the prompt's instruction; None without one.

        A key of `instructions` with the name of the prompt's source goes before its domain.
        """
        for key in (prompt.source, prompt.domain):
            if key in self.instructions:
                return _instruction_text(self.instructions[key])
        return _instruction_text(self.instruction)

    def check_instructions(self, names: Collection[str]) -> None:
        """Raise RecipeError for keys of `instructions` that are neither in `names` nor of R1.

        `names` are the sources and domains of the loaded prompts.
        """
        known = {*names, *R1_DOMAINS}
        unknown = [key for key in self.instructions if key not in known]
        what = f"is neither a source nor a domain of the prompts: {', '.join(sorted(known))}"
        if unknown:
            raise RecipeError([Problem(f"prompting.instructions.{key}", what) for key in unknown])

    def render(
        self,
        prompt: Prompt,
        tokenizer: ChatTokenizer | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        opening: Sequence[Message] = (),
    ) -> Rendered:
        """Render a prompt. `chat` and `rewrite` need the model's tokenizer.

        `tools` are the functions that the model is offered, `opening` what an environment shows
        first. Raises ModelError if the tokenizer has no chat template, or none that fits.
        """
        messages, prefill = self.messages_for(prompt), self.prefill_for(prompt)
        tools = tools or prompt.tools
        if self.is_chat:
            text = self.render_chat([*messages, *opening], tokenizer, tools)
            return self.open_turn(prompt, text)
        if tools or opening:
            raise ModelError(
                f"prompt {prompt.id} of {prompt.source} has tools or an environment, which only "
                "`prompting.template: chat` can show to a model"
            )
        if self.template == "r1_zero":
            question = "\n\n".join(message["content"] for message in messages)
            return Rendered(R1_ZERO.format(question=question), prefill, True)
        examples = self._examples if wants_cot(prompt) else self._plain_examples
        return Rendered(examples + _render_turns(messages), prefill, True)

    def open_turn(self, prompt: Prompt, text: str) -> Rendered:
        """Split a rendered chat that ends where the model's turn begins into text and prefill."""
        text, opened = _split_opening(text)
        prefill = self.prefill_for(prompt)
        if opened and wants_cot(prompt) and not prefill.startswith(THINK_OPEN):
            prefill = opened + prefill
        return Rendered(text, prefill, False)

    def prefill_for(self, prompt: Prompt) -> str:
        """Return what the model's turn begins with: the text that the prompt continues, else the
        recipe's prefill, or "" if the prompt gets no chain of thought."""
        if prompt.continues is not None:
            return prompt.continues["text"]
        return self.prefill if wants_cot(prompt) else ""

    def messages_for(self, prompt: Prompt) -> list[Message]:
        """Return a prompt's messages with the recipe's system message and instruction."""
        if self.template == "rewrite":
            result = [Message(role="user", content=self._rewrite_request(prompt))]
        else:
            result = [Message(role=m["role"], content=m["content"]) for m in prompt.messages]
        instruction = self.instruction_for(prompt)
        if instruction and wants_cot(prompt):
            result[-1]["content"] = f"{result[-1]['content']}\n{instruction}"
        if self.is_chat and self.exemplars:
            first = int(result[0]["role"] == "system")
            result[first:first] = [Message(**turn) for turn in self._earlier_turns]
        if self.system:
            result.insert(0, Message(role="system", content=self.system))
        return result

    def _rewrite_request(self, prompt: Prompt) -> str:
        """Return the request to rewrite a prompt's draft. The texts can't close their tags."""
        draft = prompt.meta.get(DRAFT)
        if draft is None:
            raise SourceError(
                f"prompt {prompt.id} of {prompt.source} has no draft to rewrite; `template: "
                "rewrite` needs sources of `kind: drafts`"
            )
        turns = [f"{m['role'].capitalize()}: {m['content']}" for m in prompt.messages]
        question = prompt.question if len(turns) == 1 else "\n\n".join(turns)
        return self._request.substitute(
            question=_escape_tag(question, "question"), draft=_escape_tag(draft["text"], "draft")
        )

    @staticmethod
    def render_chat(
        messages: list[Message],
        tokenizer: ChatTokenizer | None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """Render messages with the model's own template, up to where its next turn begins.

        A ChatML model whose template knows no tools gets the shipped one that does.
        """
        if tokenizer is None:
            raise ModelError(
                "the engine renders prompts without a tokenizer, which `prompting.template` chat "
                "and rewrite need. Use `template: few_shot` or `r1_zero`, or let the engine load "
                "one and give it to `render`."
            )
        if not tokenizer.chat_template:
            raise ModelError(
                "the model has no chat template, which `prompting.template` chat and rewrite need. "
                "Use a chat model, or `template: r1_zero` or `few_shot` for a base model."
            )
        extra: dict[str, Any] = {}
        if tools:
            own = str(tokenizer.chat_template)
            extra["tools"] = [dict(tool) for tool in tools]
            if "tools" not in own:
                extra["chat_template"] = _template_with_tools(own)
        try:
            text: str = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **extra
            )
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise ModelError(
                f"the model's chat template fails on turns of {roles}: {error}. Use a model whose "
                "template takes them."
            ) from error
        return text

    def identity(self) -> dict[str, Any]:
        """Return everything that changes a sample, by content instead of file name."""
        unused = {"exemplars", "request", "cot", "instructions", "variants"}
        fields = self.model_dump(mode="json", exclude=unused)
        if self.instruction != "boxed":  # by name in the fingerprints of earlier runs
            fields["instruction"] = _instruction_text(self.instruction)
        if self.instructions:
            fields["instructions"] = {
                key: _instruction_text(value) for key, value in self.instructions.items()
            }
        if self.template == "few_shot":
            fields["examples"] = self._examples
        elif self.exemplars:
            fields["examples"] = [dict(turn) for turn in self._earlier_turns]
        if self.variants:
            fields["variants"] = {
                name: self.with_variant(name).identity() for name in self.variants
            }
        if self.template == "rewrite":
            fields["request"] = self._request.template
        if self.cot is not None:
            fields["cot"] = self.cot.identity()
        return fields


def _template_with_tools(own: str) -> str:
    """Return the template with tools for a model whose own has none. Raises ModelError."""
    if "<|im_start|>" not in own:
        raise ModelError(
            "the prompt offers tools, and the model's chat template has no place for them. Use a "
            "model that knows tools, or one with a ChatML template, which gets the shipped one."
        )
    return data_path("templates/chatml_tools.jinja").read_text(encoding="utf-8")


@cache
def _instruction_text(instruction: str | None) -> str | None:
    """Return the text behind the name of an instruction, or the text itself."""
    if instruction in SHIPPED_INSTRUCTIONS:
        return data_path(SHIPPED_INSTRUCTIONS[instruction]).read_text("utf-8").strip()
    return SHORT_INSTRUCTIONS.get(instruction, instruction) if instruction else None


def _render_turns(messages: list[Message]) -> str:
    """Render a conversation in the format of the exemplars, without the last answer."""
    text = ""
    for message in messages:
        if message["role"] == "assistant":
            text += f"{message['content'].strip()}\n\n"
        else:
            continues = text.endswith("\nAnswer:\n")  # a system turn, then the user's
            text = text.removesuffix("\nAnswer:\n") + ("\n\n" if continues else "Question: ")
            text += f"{message['content']}\nAnswer:\n"
    return text


def _split_opening(text: str) -> tuple[str, str]:
    """Split off the `<think>` at the end of a rendered turn, and return both parts.

    Templates of reasoning models (R1's distilled ones) end with it. It belongs to the completion.
    """
    before, tag, after = text.rpartition(THINK_OPEN)
    return (before, tag + after) if tag and not after.strip() else (text, "")


def read_request(file: Path) -> Template:
    """Read a rewrite request. Raises SourceError if it lacks ${question} or ${draft}."""
    try:
        request = Template(file.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{file}: cannot read the request: {error}") from error
    if not request.is_valid() or set(request.get_identifiers()) != {"question", "draft"}:
        raise SourceError(
            f"{file}: must contain ${{question}} and ${{draft}} and no other placeholder; "
            "write $$ for a dollar sign"
        )
    return request


def _escape_tag(text: str, tag: str) -> str:
    """Escape the closing tag in a text that is put inside the tag."""
    return text.strip().replace(f"</{tag}>", f"<\\/{tag}>")


def read_exemplars(file: Path) -> list[dict[str, str]]:
    """Read worked examples from a YAML file. Raises SourceError with file and item."""
    try:
        items = read_yaml(file)
    except (OSError, ValueError) as error:
        raise SourceError(f"exemplars {file} cannot be read: {error}") from error
    keys = {"question", "thinking", "response"}
    if not isinstance(items, list) or not items:
        raise SourceError(f"exemplars {file} must be a list of mappings with {sorted(keys)}")
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict) or set(item) != keys:
            raise SourceError(f"exemplars {file}, item {number}: needs exactly {sorted(keys)}")
    return items


def _render_exemplar(item: dict[str, str], thoughts: bool) -> str:
    turn = join_think(item["thinking"] if thoughts else None, item["response"])
    return f"Question: {item['question'].strip()}\nAnswer:\n{turn}\n\n***\n\n"
