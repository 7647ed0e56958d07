"""The engine `transformers`: a real model of a few thousand weights, in batches."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factory.core.errors import ModelError, RecipeError
from factory.core.nouns import Failure, Message, Prompt, Sample
from factory.prompts.templates import Prompting
from factory.recipe.engine import EngineSpec
from factory.recipe.engines.options import Engine, Model
from factory.recipe.sampling import Sampling
from factory.sampling.engine import Request, open_engine
from tests.train.tiny import write_model

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.real(group="torch")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def spec(model: Path, args: dict[str, Any] | None = None, **sampling: Any) -> EngineSpec:
    settings = {"n": 2, "temperature": 1.0, "max_tokens": 12, **sampling}
    return EngineSpec(
        Model(id=str(model)),
        Engine(kind="transformers", args=args or {}),
        Prompting(),
        Sampling.model_validate(settings),
    )


def prompt(text: str) -> Prompt:
    return Prompt("tests", "math", (Message(role="user", content=text),))


def draw(
    wanted: EngineSpec, texts: list[str], run: Path, start: int = 0, n: int = 2
) -> dict[str, Sample | Failure]:
    """Sample every text `n` times; returns the outcomes by sample id."""
    engine = open_engine(wanted, run, start)
    try:
        requests = [Request(prompt(text), index) for text in texts for index in range(n)]
        for request in requests:
            engine.submit(request)
        found: dict[str, Sample | Failure] = {}
        while len(found) < len(requests):
            found |= {outcome.sample_id: outcome for outcome in engine.completed()}
        return found
    finally:
        engine.close()


def words(found: dict[str, Sample | Failure]) -> list[str]:
    return [one.text for one in found.values() if isinstance(one, Sample)]


def test_samples_depend_on_seed_and_start(model: Path, tmp_path: Path) -> None:
    texts = ["1 + 1", "a longer question than that"]
    first = words(draw(spec(model), texts, tmp_path))
    assert first == words(draw(spec(model), texts, tmp_path))
    assert first != words(draw(spec(model, seed=1), texts, tmp_path))
    assert first != words(draw(spec(model), texts, tmp_path, start=1))
    assert len(set(first)) == 4  # a prompt's samples differ


def test_batches_and_padding_change_no_greedy_sample(model: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    texts = ["1", "a question of quite another length", "2 + 2 = ?"]
    found = draw(spec(model, {"batch": 2}, n=1, temperature=0.0), texts, tmp_path, n=1)
    tokenizer = AutoTokenizer.from_pretrained(model)
    bare = AutoModelForCausalLM.from_pretrained(model).eval()
    for one in found.values():
        assert isinstance(one, Sample)
        ids = tokenizer.encode(one.prompt_text, add_special_tokens=False)
        assert one.n_prompt_tokens == len(ids)
        own: list[int] = []
        with torch.inference_mode():
            while len(own) < 12 and (not own or own[-1] != tokenizer.eos_token_id):
                logits = bare(torch.tensor([ids + own])).logits[0, -1]
                own.append(int(logits.argmax()))
        ended = own[-1] == tokenizer.eos_token_id
        assert one.text == tokenizer.decode(own[:-1] if ended else own)
        assert (one.n_tokens, one.finish_reason) == (len(own), "stop" if ended else "length")


def test_a_stop_string_ends_a_text_and_is_cut_off(model: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"n": 1, "max_tokens": 40}
    (whole,) = words(draw(spec(model, **settings), ["1"], tmp_path, n=1))
    stop = next(character for character in whole[3:] if character != "\ufffd")
    found = draw(spec(model, stop=[stop], **settings), ["1"], tmp_path, n=1)
    (one,) = found.values()
    assert isinstance(one, Sample)
    assert (one.text, one.finish_reason) == (whole[: whole.index(stop)], "stop")
    assert one.n_tokens < 40  # padding is no token of its own


def test_stop_strings_work_with_a_vocabulary_of_words(tmp_path: Path) -> None:
    """A vocabulary without letters, in which transformers' own `stop_strings` fails."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = shutil.copytree(ROOT / "recipes" / "r1" / "claims" / "model", tmp_path / "model")
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    found = draw(spec(folder, stop=["7", ";"], max_tokens=40), ["1 +2 ="], tmp_path, n=8)
    for one in found.values():
        assert isinstance(one, Sample)
        assert not {"7", ";"} & set(one.text)
        assert one.n_tokens < 40


def test_settings_that_a_model_brings_along_have_no_effect(model: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(model, own)
    file = own / "generation_config.json"
    brought = {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "min_new_tokens": 9}
    file.write_text(json.dumps(json.loads(file.read_text()) | brought))
    found = words(draw(spec(own), ["1 + 1"], tmp_path))
    assert found == words(draw(spec(model), ["1 + 1"], tmp_path))


def test_a_prompt_beyond_the_context_fails_alone(model: Path, tmp_path: Path) -> None:
    found = draw(spec(model), ["1", "x" * 300], tmp_path, n=1)
    kinds = [one.kind if isinstance(one, Failure) else "sample" for one in found.values()]
    assert sorted(kinds) == ["prompt_too_long", "sample"]


def test_an_aborted_request_comes_back_as_aborted(model: Path, tmp_path: Path) -> None:
    engine = open_engine(spec(model), tmp_path, 0)
    requests = [Request(prompt("1 + 1"), index) for index in range(3)]
    for request in requests:
        engine.submit(request)
    engine.abort([requests[1].sample_id, "unknown-0"])
    found = {one.index: one for one in (*engine.completed(), *engine.completed())}
    engine.close()
    engine.close()
    assert sorted(found) == [0, 1, 2]
    aborted = found[1]
    assert isinstance(aborted, Sample)
    assert (aborted.finish_reason, aborted.text) == ("abort", "")


@pytest.mark.parametrize(
    ("args", "sampling", "message"),
    [
        ({"max_model_len": 99}, {}, "engine.args.max_model_len is no argument of the engine"),
        ({"batch": 0}, {}, "engine.args.batch is 0"),
        ({"batch": "many"}, {}, "engine.args.batch is 'many'"),
        ({}, {"early_stop": {}}, "sampling.early_stop needs an engine that streams"),
    ],
)
def test_settings_that_it_does_not_have(
    model: Path, tmp_path: Path, args: dict[str, Any], sampling: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        open_engine(spec(model, args, **sampling), tmp_path, 0)


def test_a_missing_model_and_a_wrong_type_are_named(model: Path, tmp_path: Path) -> None:
    gone = replace(spec(model), model=Model(id=str(tmp_path / "gone")))
    with pytest.raises(ModelError, match="gone"):
        open_engine(gone, tmp_path, 0)
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_engine(spec(model, {"dtype": "float17"}), tmp_path, 0)


def test_a_continuation_has_its_start_in_the_text_and_not_in_the_tokens(
    model: Path, tmp_path: Path
) -> None:
    start: Any = {"parent": "p-0", "cut": 12, "text": "<think>\nadd\n"}
    asked = replace(prompt("1 + 1"), continues=start, id="")
    engine = open_engine(spec(model), tmp_path, 0)
    engine.submit(Request(asked, 0, max_tokens=7))
    stops = tuple(chr(code) for code in range(32, 127))  # any printable character
    engine.submit(Request(asked, 1, max_tokens=40, stop=stops))
    found = {one.index: one for one in (*engine.completed(), *engine.completed())}
    engine.close()
    plain = draw(spec(model), ["1 + 1"], tmp_path, n=1)
    short, stopped, (alone,) = found[0], found[1], plain.values()
    assert isinstance(short, Sample)
    assert isinstance(stopped, Sample)
    assert isinstance(alone, Sample)
    for one in (short, stopped):
        assert one.text.startswith(start["text"])
        assert one.prompt_text == alone.prompt_text
        assert one.n_prompt_tokens > alone.n_prompt_tokens
    assert short.n_tokens == 7
    assert stopped.finish_reason == "stop"
    assert stopped.text[-1] in stops
    assert not set(stops) & set(stopped.text[len(start["text"]) : -1])
