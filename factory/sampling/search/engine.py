"""Searches over any engine: a request goes in, the best answer that its tree found comes out.

An engine that searches is an engine itself. A search draws in rounds: the next one begins when all
continuations of the last one are there. So a tree depends on what was drawn and on no order of
arrival, and a killed run grows the same tree on. Other searches keep the engine busy meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from factory.core.errors import EngineError
from factory.core.nouns import Continues, Failure, FinishReason, Prompt, Sample, sample_id
from factory.core.think import THINK_CLOSE
from factory.recipe.search import Search
from factory.sampling.engine import Engine, Request, Worker
from factory.sampling.engines.vllm import KEPT_STOPS
from factory.sampling.search.beam import search_beam
from factory.sampling.search.node_log import First, NodeLog, Recorded
from factory.sampling.search.puct import search_tree
from factory.sampling.search.tree import ROOT, Draw, End, Node, Plan, Tree
from factory.sampling.search.values import Judge, Valuer, make_judge
from filters.reasoning_steps import ends_step

if TYPE_CHECKING:
    from factory.recipe.engine import EngineSpec

PLANS = {"beam": search_beam, "tree": search_tree}

MOST_NODES = 1 << 18
"""Nodes of a tree. Every request of a search has an index of its own below this."""


@dataclass(slots=True, eq=False)
class _Search:
    """A search in progress."""

    request: Request
    tree: Tree
    plan: Plan
    recorded: Recorded
    first: First | None
    nodes: list[Node | None] = field(default_factory=list)  # of the round; None: not drawn yet
    asked: set[str] = field(default_factory=set)  # requests in the engine
    failure: Failure | None = None
    aborted: bool = False


@dataclass(slots=True)
class _Drawing:
    """A continuation that is being drawn, maybe in several requests."""

    search: _Search
    place: int  # in the round
    draw: Draw
    after: str  # the text before it
    text: str = ""
    n_tokens: int = 0
    asked: int = 0  # tokens that the last request may have
    by_step: bool = True  # whether the last request ends after a step

    @property
    def number(self) -> int:
        return len(self.search.tree.nodes) + self.place

    @property
    def whole_text(self) -> str:
        return self.after + self.text


class SearchEngine:
    """An engine whose samples are the answers of searches."""

    def __init__(self, engine: Engine, spec: EngineSpec, log: NodeLog) -> None:
        sampling = spec.sampling
        assert sampling.search is not None  # the policies beam and tree have it
        self._engine, self._log, self._sampling = engine, log, sampling
        self._options: Search = sampling.search
        self._stops = (*spec.prompting.stop, *sampling.stop)
        self._judge: Judge = make_judge(self._options.value)
        self._searches: dict[str, _Search] = {}
        self._drawings: dict[str, _Drawing] = {}
        self._ended: list[Sample | Failure] = []

    @property
    def capacity(self) -> int:
        """As many searches as keep the engine full, each with the draws of one round."""
        beams = self._options.beams if self._sampling.policy == "beam" else 1
        return 1 + self._engine.capacity // (beams * self._options.width)

    def submit(self, request: Request) -> None:
        start = request.prompt.continues
        tree = Tree("" if start is None else start["text"])
        recorded = self._log.take(request.sample_id)
        valuer = Valuer(
            tree,
            request.prompt,
            self._judge,
            self._options.value.rollouts,
            lambda node: recorded.find_value(node, tree.text(node.number)),
            lambda node: self._log.add_value(request, node, tree.text(node.number)),
        )
        plan = PLANS[self._sampling.policy](tree, self._options, valuer)
        search = _Search(request, tree, plan, recorded, recorded.first)
        self._searches[request.sample_id] = search
        self._advance(search, None)

    def completed(self) -> Iterator[Sample | Failure]:
        for outcome in list(self._engine.completed()):
            drawing = self._drawings.pop(outcome.sample_id)
            drawing.search.asked.remove(outcome.sample_id)
            if isinstance(outcome, Sample):
                self._receive(drawing, outcome)
            else:
                self._fail(drawing, outcome)
        yield from self._ended
        self._ended.clear()

    def abort(self, sample_ids: Iterable[str]) -> None:
        for name in sample_ids:
            search = self._searches.get(name)
            if search is not None:
                search.aborted = True
                self._engine.abort(sorted(search.asked))

    def workers(self) -> list[Worker]:
        return self._engine.workers()

    def close(self) -> None:
        try:
            self._engine.close()
        finally:
            self._log.stop()

    def _advance(self, search: _Search, nodes: list[Node] | None) -> None:
        """Give a round's nodes to the policy and begin the next one, until one needs the engine."""
        while True:
            try:
                draws = next(search.plan) if nodes is None else search.plan.send(nodes)
            except StopIteration as ended:
                self._finish(search, ended.value)
                return
            search.nodes = [None] * len(draws)
            for place, draw in enumerate(draws):
                self._begin(search, place, draw)
            if search.asked:
                return
            nodes = _close_round(search)

    def _begin(self, search: _Search, place: int, draw: Draw) -> None:
        drawing = _Drawing(search, place, draw, search.tree.text(draw.parent))
        if drawing.number >= MOST_NODES:
            raise EngineError(
                f"the tree of {search.request.sample_id} has {MOST_NODES:,} nodes; lower "
                "sampling.search.expansions, width or value.rollouts"
            )
        search.nodes[place] = search.recorded.find_node(drawing.number, draw, drawing.after)
        if search.nodes[place] is None:
            self._ask(drawing)

    def _ask(self, drawing: _Drawing) -> None:
        """Ask the engine for a continuation, or for more of it."""
        search, text, options = drawing.search, drawing.whole_text, self._options
        drawing.by_step = not drawing.draw.whole and THINK_CLOSE not in text
        drawing.asked = self._sampling.max_tokens - self._spent(drawing)
        if drawing.by_step:
            drawing.asked = min(drawing.asked, options.step_tokens - drawing.n_tokens)
        request = Request(
            _continue(search.request, drawing.draw.parent, text),
            search.request.index * MOST_NODES + drawing.number,
            search.request.level,
            max_tokens=drawing.asked,
            stop=options.stops if drawing.by_step else (),
        )
        self._drawings[request.sample_id] = drawing
        search.asked.add(request.sample_id)
        self._engine.submit(request)

    def _spent(self, drawing: _Drawing) -> int:
        """Return the tokens generated on the path of a continuation, its own included."""
        return drawing.search.tree.tokens(drawing.draw.parent) + drawing.n_tokens

    def _receive(self, drawing: _Drawing, sample: Sample) -> None:
        search, before = drawing.search, drawing.whole_text
        if not sample.text.startswith(before):
            raise EngineError(
                f"the engine does not continue a text: its sample {sample.sample_id} begins with "
                f"{sample.text[:60]!r} in place of {before[:60]!r}. A search needs the engine "
                "vllm, ray or transformers, or a server with api: completions"
            )
        drawing.text += sample.text[len(before) :]
        drawing.n_tokens += sample.n_tokens
        search.first = search.first or First(
            sample.prompt_text, sample.n_prompt_tokens, sample.model, sample.params_fp
        )
        if search.aborted or search.failure is not None:
            search.tree.spent += drawing.n_tokens
            self._give_up(search)
            return
        end = self._find_end(drawing, sample, len(before))
        if end in (None, "step") and self._spent(drawing) >= self._sampling.max_tokens:
            end = "length"
        if end is None:
            self._ask(drawing)
        else:
            self._add(drawing, end)

    def _find_end(self, drawing: _Drawing, sample: Sample, before: int) -> End | None:
        """Return how a continuation ended; None if it goes on.

        `before` is the length of the text before this sample's own. A stop string of the recipe
        that begins there cuts the text.
        """
        text = drawing.whole_text
        for stop in self._stops:
            place = text.find(stop, max(0, before - len(stop) + 1), before + len(stop) - 1)
            if place >= 0:
                keep = place + (len(stop) if stop in KEPT_STOPS else 0)
                drawing.text = text[len(drawing.after) : max(keep, len(drawing.after))]
                return "stop"
        if sample.finish_reason != "stop":
            if not drawing.by_step or sample.n_tokens < drawing.asked:  # the context is full
                return "length"
            return None if THINK_CLOSE in text else "step"  # cut after `step_tokens`
        if not drawing.by_step or not text.endswith(self._options.stops):
            return "stop"
        if ends_step(text, self._options.rule):
            return "step"
        is_long = drawing.n_tokens >= self._options.step_tokens and THINK_CLOSE not in text
        return "step" if is_long else None

    def _add(self, drawing: _Drawing, end: End) -> None:
        """Add a continuation to its round and to the log. Goes on if the round is complete."""
        search, draw = drawing.search, drawing.draw
        node = Node(drawing.number, draw.parent, drawing.text, drawing.n_tokens, end, draw.whole)
        self._log.add_node(search.request, node, drawing.after, search.first)
        search.nodes[drawing.place] = node
        if not search.asked:
            self._advance(search, _close_round(search))

    def _fail(self, drawing: _Drawing, failure: Failure) -> None:
        """Note a continuation that the engine could not draw. What was drawn stays in the log."""
        if failure.kind == "prompt_too_long" and drawing.draw.parent != ROOT:
            self._add(drawing, "length")  # the path fills the context
            return
        drawing.search.failure = failure
        self._engine.abort(sorted(drawing.search.asked))
        self._give_up(drawing.search)

    def _give_up(self, search: _Search) -> None:
        """End a search that failed or was aborted, once the engine has nothing left of it."""
        if search.asked:
            return
        if search.failure is None:
            self._finish(search, search.tree.nodes[-1])
            return
        request = search.request
        del self._searches[request.sample_id]
        self._ended.append(
            replace(search.failure, prompt_id=request.prompt.id, index=request.index)
        )

    def _finish(self, search: _Search, answer: Node) -> None:
        request, first = search.request, search.first
        del self._searches[request.sample_id]
        self._log.forget(request.sample_id)
        reason: FinishReason = "stop" if answer.end == "stop" else "length"
        assert first is not None  # there is no answer without a continuation
        self._ended.append(
            Sample(
                prompt_id=request.prompt.id,
                index=request.index,
                text=search.tree.text(answer.number),
                prompt_text=first.prompt_text,
                finish_reason="abort" if search.aborted else reason,
                n_tokens=search.tree.spent,
                n_prompt_tokens=first.n_prompt_tokens,
                model=first.model,
                params_fp=first.params_fp,
                created_at=time.time_ns() // 1_000_000,
            )
        )


def _close_round(search: _Search) -> list[Node]:
    """Add the round's nodes to the tree and return them."""
    nodes = [node for node in search.nodes if node is not None]
    assert len(nodes) == len(search.nodes)
    search.tree.add(nodes)
    search.nodes = []
    return nodes


def _continue(request: Request, parent: int, text: str) -> Prompt:
    """Return a prompt that goes on from a text; the request's own where there is none."""
    prompt = request.prompt
    if not text:
        return prompt
    start = Continues(
        parent=f"{sample_id(prompt.id, request.index)}/{parent}", cut=len(text), text=text
    )
    return replace(prompt, continues=start, id="")
