"""Training for real on small weights: what is learned, kept, resumed and told. Everything on the CPU, in float32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import anyany
from anyany.errors import AnyanyError
from anyany.spec.check import check_file
from anyany.train.errors import TrainError
from anyany.train.run import train_stages

ROOT = Path(__file__).resolve().parents[2]
SPEC = """
anyany: 1
name: t
inputs: {prompt: message}
nodes:
  look: {use: vision/clip, weights: "random:0", with: tiny, in: prompt.image}
  see: {use: adapters/mlp, weights: "random:1", in: look.patches}
  think: {use: language/causal-lm, weights: "file:base", with: {max_new_tokens: 4}, in: {message: prompt, image: see}}
outputs: {text: think.text}
train:
  data: {use: sources/jsonl, with: {path: pairs.jsonl}, fields: {prompt: message, reply: message}}
  batch: 4
  log_every: 1
  save_every: 3
  stages:
    - name: in
      learn: [see]
      feed: {prompt: data.prompt, think.target: data.reply}
      minimise: {think.loss: 1.0}
      steps: 8
      optim: {lr: 1.0e-2}
      validate:
        every: 4
        items: 3
        add: {same: {use: metrics/exact-match, in: {found: think.text, wanted: data.reply}}}
        measure: [same]
        show: [think.text]
    - name: tune
      lora: {think: {rank: 2}}
      feed: {prompt: data.prompt, think.target: data.reply}
      minimise: {think.loss: 1.0}
      steps: 4
      optim: {lr: 1.0e-2}
"""


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small language model with its config beside it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    config = LlamaConfig(vocab_size=259, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=32, max_position_embeddings=256, tie_word_embeddings=False,
                         initializer_range=0.3)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    raw = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>").save_pretrained(folder)
    return folder


@pytest.fixture
def spec(tmp_path: Path, base: Path) -> Path:
    (tmp_path / "base").symlink_to(base)
    scenes = sorted((ROOT / "examples").glob("scene-*.png"))
    lines = [{"prompt": [{"image": str(scenes[i % 3])}, f"what {i}"], "reply": f"a ring {i}"} for i in range(6)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = tmp_path / "t.yaml"
    path.write_text(SPEC)
    return path


def train(spec: Path, *stages: str, out: str = "runs", resume: bool = False, watch: Any = None, **sets: Any) -> Path:
    found = check_file(str(spec), sets=[f"{k}={json.dumps(v)}" for k, v in sets.items()])
    found.expect()
    train_stages(found.stages, spec.parent / out, resume=resume, cpu=True, watch=watch, only=stages)
    return spec.parent / out / stages[-1]


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["think.loss"] for line in lines if "think.loss" in line]


def test_a_stage_lowers_its_loss_and_leaves_weights_that_the_spec_takes(spec: Path) -> None:
    folder = train(spec, "in")
    found = losses(folder)
    assert len(found) == 8 and found[-1] < found[0]
    assert (folder.parent / "report.html").read_text().count("<svg") >= 3
    assert list((folder / "samples" / "step-00000004").iterdir())
    sets = {"nodes.see.weights": f"file:{folder / 'see.safetensors'}"}
    ask = {"prompt": [{"image": str(ROOT / "examples" / "scene-seen-1.png")}, "what"]}
    trained, fresh = anyany.load(str(spec), set=sets)(**ask), anyany.load(str(spec))(**ask)
    assert trained["text"] != fresh["text"]


def test_only_what_is_learned_changes(spec: Path) -> None:
    before = anyany.load(str(spec))
    start = {n: p.clone() for n, p in before.components.get("see").component.state_dict().items()}
    end = load_file(train(spec, "in") / "see.safetensors")
    assert set(start) == set(end)
    assert any(not torch.equal(start[n], end[n]) for n in start)


def test_of_a_node_learned_in_part_the_rest_stays_bit_for_bit(spec: Path) -> None:
    before = anyany.load(str(spec)).components.get("see").component.state_dict()
    start = {n: p.clone() for n, p in before.items()}
    spec.write_text(spec.read_text().replace("learn: [see]", "learn: [see.2]"))
    sets = {"train.stages.0.start": {}, "train.optim": {"weight_decay": 0.5}}
    end = load_file(train(spec, "in", **sets) / "see.safetensors")
    assert {n.partition(".")[0] for n in start if not torch.equal(start[n], end[n])} == {"2"}


def test_a_part_that_a_node_has_not_is_told_with_those_it_has(spec: Path) -> None:
    spec.write_text(spec.read_text().replace("learn: [see]", "learn: [see.first]"))
    with pytest.raises(AnyanyError) as error:
        train(spec, "in")
    assert told(error)[0] == "E704"
    assert "`see.2`" in str(error.value)


def test_the_prefix_is_computed_once_a_record_and_changes_nothing(spec: Path) -> None:
    kept = train(spec, "in", out="kept")
    fresh = train(spec, "in", out="fresh", **{"train.cache": False})
    assert losses(kept) == losses(fresh)
    done = json.loads((kept / "done.json").read_text())["prefix"]
    assert (done["computed"], done["reused"]) == (6, 26)
    assert json.loads((fresh / "done.json").read_text())["prefix"]["computed"] == 32


def test_parts_of_a_step_add_up_to_the_whole_batch(spec: Path) -> None:
    whole = train(spec, "in", out="whole")
    parts = train(spec, "in", out="parts", **{"train.accumulate": 2})
    assert losses(parts) == pytest.approx(losses(whole), abs=1e-4)


class Stop(Exception):
    pass


@pytest.mark.parametrize("at", [2, 3, 5, 7])
def test_a_run_that_was_cut_and_resumed_equals_one_that_was_not_bit_for_bit(spec: Path, at: int) -> None:
    options = {"train.stages.0.ema": 0.9}
    whole = train(spec, "in", out="whole", **options)

    def cut(event: str, values: Any) -> None:
        if event == "step" and values["step"] == at:
            raise Stop

    with pytest.raises(Stop):
        train(spec, "in", out="cut", watch=cut, **options)
    resumed = train(spec, "in", out="cut", resume=True, **options)
    first, second = load_file(whole / "see.safetensors"), load_file(resumed / "see.safetensors")
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert losses(whole) == losses(resumed)


def test_adapters_lie_over_the_base_as_they_were_trained(spec: Path) -> None:
    folder = train(spec, "tune")
    assert {p.name for p in (folder / "think").iterdir()} == {"adapter_model.safetensors", "adapter_config.json"}
    found = check_file(str(spec), sets=[f'nodes.think.weights=["file:base", "file:{folder / "think"}"]'])
    assert found.ok
    loaded = anyany.load(str(spec), set={"nodes.think.weights": ["file:base", f"file:{folder / 'think'}"]})
    model = loaded.components.get("think").component.model
    original = anyany.load(str(spec)).components.get("think").component.model
    name = "model.layers.0.self_attn.q_proj.weight"
    tensors = load_file(folder / "think" / "adapter_model.safetensors")
    a, b = (tensors[f"base_model.model.model.layers.0.self_attn.q_proj.lora_{s}.weight"] for s in "AB")
    wanted = original.state_dict()[name] + 2.0 * b @ a
    assert b.abs().max() > 0
    torch.testing.assert_close(model.state_dict()[name], wanted)


def told(error: pytest.ExceptionInfo[AnyanyError]) -> tuple[str, str]:
    problem = error.value.problems[0]
    return problem.code, problem.message


def test_a_folder_that_holds_a_run_is_not_written_over(spec: Path) -> None:
    train(spec, "in")
    with pytest.raises(AnyanyError) as error:
        train(spec, "in")
    assert told(error)[0] == "E710"
    train(spec, "in", resume=True)  # done already: nothing happens
    with pytest.raises(AnyanyError) as error:
        train(spec, "tune", out="other", **{"train.batch": 5, "train.accumulate": 2})
    assert told(error)[0] == "E707"


def test_records_that_lack_a_field_are_told_before_the_first_step(spec: Path) -> None:
    with (spec.parent / "pairs.jsonl").open("a") as file:
        file.write('{"prompt": "no reply"}\n')
    with pytest.raises(AnyanyError) as error:
        train(spec, "in")
    code, message = told(error)
    assert code == "E708" and "record 6" in message and "field `reply`" in message


def test_an_item_that_fails_in_a_step_is_left_out_and_counted(spec: Path) -> None:
    text = (spec.parent / "pairs.jsonl").read_text().splitlines()
    text[2] = json.dumps({"prompt": [{"image": "gone.png"}, "what"], "reply": "nothing"})
    (spec.parent / "pairs.jsonl").write_text("\n".join(text) + "\n")
    folder = train(spec, "in")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert any(line.get("failed_items") for line in lines)
    assert len(losses(folder)) == 8


def test_a_loss_that_is_no_number_stops_with_its_batch_saved(spec: Path) -> None:
    with pytest.raises(AnyanyError) as error:
        train(spec, "in", **{"train.stages.0.optim.lr": 1e30, "train.clip": 0})
    code, message = told(error)
    assert code == "E711" and "think.loss is nan" in message
    (bad,) = (spec.parent / "runs" / "in").glob("bad-batch-*.jsonl")
    assert len(bad.read_text().splitlines()) == 4


def test_a_stage_begins_from_what_the_one_before_it_learned(spec: Path) -> None:
    told: list[str] = []

    def watch(event: str, values: Any) -> None:
        told.extend([values["text"]] if event == "note" else [])

    train(spec, "in", "tune", watch=watch)
    assert told == ["tune: begins with see from in"]
    chained = losses(spec.parent / "runs" / "tune")
    train(spec, "tune", watch=watch, resume=True)  # another run: the stage before it is not trained again
    train(spec, "tune", out="alone")
    assert losses(spec.parent / "alone" / "tune")[0] != chained[0]
    train(spec, "in", out="later")
    train(spec, "tune", out="later")
    assert not list((spec.parent / "later" / "tune").rglob("see*")), "what is not learned is not written"
    assert losses(spec.parent / "later" / "tune") == chained


def test_a_node_learned_again_takes_no_other_file_of_the_stage_before_along(spec: Path) -> None:
    again = spec.read_text().replace("lora: {think: {rank: 2}}", "learn: [see]")
    spec.write_text(again)
    train(spec, "in", "tune")
    assert (spec.parent / "runs" / "in" / "done.json").exists()
    assert (spec.parent / "runs" / "tune" / "see.safetensors").exists()


def test_a_stage_takes_over_weights_of_another_size_than_the_specs(spec: Path) -> None:
    small = train(spec, "in", out="small", **{"nodes.see.with": {"hidden": 24}}) / "see.safetensors"
    text = spec.read_text().replace("      learn: [see]", '      learn: [see]\n      start: {see: "random:3"}')
    spec.write_text(text.replace('adapters/mlp, weights: "random:1"', f'adapters/mlp, weights: "file:{small}"'))
    train(spec, "in", "tune")
    made = load_file(spec.parent / "runs" / "in" / "see.safetensors")
    assert {n: v.shape for n, v in made.items()} != {n: v.shape for n, v in load_file(small).items()}


def test_a_stage_that_ends_short_stops_the_run_and_says_by_how_much(spec: Path) -> None:
    text = spec.read_text().replace("measure: [same]", "measure: [same]\n        at_least: {same: 0.9}")
    spec.write_text(text)
    for resume in (False, True):
        with pytest.raises(TrainError, match=r"stage in ended short: same is 0, below 0\.9") as caught:
            train(spec, "in", "tune", resume=resume)
        assert caught.value.problems[0].code == "E715"
    runs = spec.parent / "runs"
    assert (runs / "in" / "see.safetensors").exists() and (runs / "report.html").exists()
    assert not (runs / "tune").exists()
    assert losses(train(spec, "tune"))
    spec.write_text(text.replace("at_least: {same: 0.9}", "at_most: {same: 0.5}"))
    assert losses(train(spec, "in", out="other"))


def test_tensorboard_reads_the_losses_of_the_metrics_file(spec: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = train(spec, "tune")
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    assert [e.value for e in board.Scalars("think.loss")] == pytest.approx(losses(folder))


def test_a_stage_that_names_its_start_is_left_alone(spec: Path) -> None:
    spec.write_text(
        spec.read_text().replace("    - name: tune\n", '    - name: tune\n      start: {see: "random:1"}\n')
    )
    train(spec, "in", "tune")
    train(spec, "tune", out="alone")
    first = [losses(spec.parent / out / "tune") for out in ("runs", "alone")]
    assert first[0] == first[1]


def test_a_batch_of_which_every_item_fails_before_what_is_learned_is_told(spec: Path) -> None:
    lines = [json.dumps({"prompt": [{"image": "gone.png"}, "what"], "reply": "nothing"})] * 4
    (spec.parent / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(AnyanyError) as error:
        train(spec, "in")
    assert told(error)[0] == "E712" and "gone.png" in told(error)[1]
