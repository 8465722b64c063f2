"""A Llama goes to transformers and PEFT and comes back: folders, adapters, training steps."""
import json
import time

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from peers import Refused, distance, make_peft, ours

SMALL = dict(vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
             initializer_range=0.15)
SMOLLM = dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
              num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True)
QV = ["q_proj", "v_proj"]
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_ids(vocabulary, sequences, length):
    generator = torch.Generator().manual_seed(2)
    return torch.randint(vocabulary, (sequences, length), generator=generator)


def llama(folder, ids, **job):
    """Runs build/llama_peer on sequences of ids; returns its tensors, and what it printed."""
    save_file({"ids": ids.flatten(), "next": ids.roll(-1, 1).flatten()}, folder / "input")
    job = {"input": f"{folder}/input", "out": f"{folder}/out", "context": ids.shape[1], **job}
    (folder / "job.json").write_text(json.dumps(job))
    printed = ours("llama_peer", folder / "job.json")
    return load_file(folder / "out"), [float(figure) for figure in printed.split()]


def theirs(model, ids):
    with torch.no_grad():
        return model.eval()(ids).logits.flatten(0, 1)


def make_llama(folder, **options):
    """A Llama of transformers with random parameters, also in the norms, and its folder."""
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**{**SMALL, **options}))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p += 0.3 * torch.randn_like(p)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("tied", [False, True])
def test_ours_in_transformers(tied, tmp_path):
    ids = make_ids(60, 3, 20)
    sizes = dict(vocab_size=60, hidden_size=32, num_attention_heads=4, num_key_value_heads=2,
                 tie_word_embeddings=tied)
    result, _ = llama(tmp_path, ids, new=sizes, save=f"{tmp_path}/model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert distance(result["logits"], theirs(model, ids)) <= 1e-5
    assert result["logits"].abs().max() > 0.3
    # and what transformers writes again is read here
    model.save_pretrained(tmp_path / "again")
    again, _ = llama(tmp_path, ids, model=f"{tmp_path}/again")
    assert distance(again["logits"], result["logits"]) == 0


@pytest.mark.parametrize("options", [
    {}, {"tie_word_embeddings": True}, {"num_key_value_heads": 1}, {"head_dim": 12},
    {"rope_theta": 100.0}, {"rope_parameters": {"rope_theta": 77.0, "rope_type": "default"}},
    {"rms_norm_eps": 0.1}, {"num_attention_heads": 1, "num_key_value_heads": 1}], ids=str)
def test_theirs_here(options, tmp_path):
    ids = make_ids(60, 2, 70)
    model = make_llama(tmp_path / "model", **options)
    result, _ = llama(tmp_path, ids, model=f"{tmp_path}/model")
    assert distance(result["logits"], theirs(model, ids)) <= 2e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats(dtype, tmp_path):
    ids = make_ids(60, 2, 20)
    model = make_llama(tmp_path / "float").to(dtype)
    model.save_pretrained(tmp_path / "model")
    result, _ = llama(tmp_path, ids, model=f"{tmp_path}/model")
    # (model.float() would keep RoPE's constants as they were rounded by to(dtype))
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert distance(result["logits"], theirs(again, ids)) <= 2e-5


@pytest.mark.parametrize("options, words", [
    ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "scaling"),
    ({"attention_bias": True}, "attention_bias"), ({"mlp_bias": True}, "mlp_bias"),
    ({"hidden_act": "gelu"}, "hidden_act")], ids=str)
def test_refused(options, words, tmp_path):
    make_llama(tmp_path / "model", **options)
    with pytest.raises(Refused, match=words):
        llama(tmp_path, make_ids(60, 1, 8), model=f"{tmp_path}/model")


def test_sharded_is_refused(tmp_path):
    make_llama(tmp_path / "model").save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    with pytest.raises(Refused, match="sharded"):
        llama(tmp_path, make_ids(60, 1, 8), model=f"{tmp_path}/shards")


@pytest.mark.parametrize("options", [
    dict(target_modules=QV), dict(target_modules="all-linear"),
    dict(target_modules=["embed_tokens", "k_proj"]), dict(target_modules=QV, use_dora=True),
    dict(target_modules="all-linear", use_dora=True)], ids=str)
def test_adapters(options, tmp_path):
    ids = make_ids(60, 2, 20)
    base = make_llama(tmp_path / "model")
    model = make_peft(base, r=4, lora_alpha=8, task_type="CAUSAL_LM", **options)
    model.save_pretrained(tmp_path / "adapter")
    result, _ = llama(tmp_path, ids, model=f"{tmp_path}/model", adapter=f"{tmp_path}/adapter",
                      save_adapter=f"{tmp_path}/ours")
    logits = theirs(model.get_base_model(), ids)
    assert distance(result["logits"], logits) <= 1e-4
    assert distance(result["merged_logits"], logits) <= 1e-4
    fresh = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    back = peft.PeftModel.from_pretrained(fresh, tmp_path / "ours")
    assert distance(theirs(back.get_base_model(), ids), logits) <= 1e-6


def train(model, ids, steps, lr):
    """The losses of AdamW steps; the last one's seconds."""
    adam = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr,
                             weight_decay=0.01)
    losses = []
    for _ in range(steps):
        start = time.process_time()
        adam.zero_grad()
        logits = model(input_ids=ids).logits.flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, ids.roll(-1, 1).flatten())
        loss.backward()
        adam.step()
        losses.append(loss.item())
        seconds = time.process_time() - start
    return losses, seconds


@pytest.mark.parametrize("options", [dict(target_modules=QV), dict(target_modules=ALL),
                                     dict(target_modules=QV, use_dora=True)], ids=str)
def test_three_steps(options, tmp_path):
    ids = make_ids(60, 4, 20)
    base = make_llama(tmp_path / "model")
    model = make_peft(base, r=4, lora_alpha=8, task_type="CAUSAL_LM", **options)
    model.save_pretrained(tmp_path / "adapter")
    result, _ = llama(tmp_path, ids, model=f"{tmp_path}/model", adapter=f"{tmp_path}/adapter",
                      steps=3, lr=0.01)
    losses, _ = train(model.train(), ids, 3, 0.01)
    assert result["losses"].tolist() == pytest.approx(losses, abs=2e-5)
    assert losses[2] < losses[0] - 0.05
    assert distance(result["logits_after"], theirs(model.get_base_model(), ids)) <= 5e-4


def test_smollm_135m(tmp_path):
    """The shapes of SmolLM-135M: logits of 512 tokens, and LoRA steps in at most 3 GB."""
    ids = make_ids(49152, 1, 512)
    base = make_llama(tmp_path / "model", initializer_range=0.02, **SMOLLM)
    model = make_peft(base, r=8, lora_alpha=16, task_type="CAUSAL_LM", target_modules=QV)
    model.save_pretrained(tmp_path / "adapter")
    result, (seconds, memory) = llama(tmp_path, ids, model=f"{tmp_path}/model",
                                      adapter=f"{tmp_path}/adapter", steps=2, lr=0.001)
    assert distance(result["logits"], theirs(model.get_base_model(), ids)) <= 1e-4
    losses, their_seconds = train(model.train(), ids, 2, 0.001)
    assert result["losses"].tolist() == pytest.approx(losses, abs=1e-4)
    print(f"\nSmolLM-135M's shapes, a LoRA step on 512 tokens: {1000 * seconds:.0f} ms, in "
          f"{memory / 1e9:.2f} GB; transformers and PEFT: {1000 * their_seconds:.0f} ms")
    assert memory <= 3e9
