"""Adapters of a small Llama: build/adapter merges them into its safetensors as PEFT does."""
import copy

import pytest
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from peers import Refused, distance, make_peft, merged, ours

CASES = {
    "attention": dict(target_modules=["q_proj", "v_proj"]),
    "dora": dict(target_modules=["q_proj", "v_proj", "down_proj"], use_dora=True),
    "all_linear": dict(target_modules="all-linear", use_rslora=True),
    "embeddings": dict(target_modules=["embed_tokens", "lm_head", "k_proj"]),
    "embeddings_dora": dict(target_modules=["embed_tokens", "lm_head"], use_dora=True),
    "modules_to_save": dict(target_modules=["o_proj"], modules_to_save=["lm_head"]),
    "one_layer": dict(target_modules=["up_proj"], layers_to_transform=[1]),
    "patterns": dict(target_modules=r".*\.layers\.\d+\.self_attn\.[qkv]_proj",
                     rank_pattern={r"layers\.0\..*q_proj": 2}, alpha_pattern={"v_proj": 3}),
}


def make_llama():
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False))


@pytest.mark.parametrize("name", CASES)
def test_merged(name, tmp_path):
    base = make_llama()
    save_file(base.state_dict(), tmp_path / "base.safetensors", {"format": "pt"})
    model = make_peft(copy.deepcopy(base), r=4, task_type="CAUSAL_LM", **CASES[name])
    model.save_pretrained(tmp_path / "adapter")
    ours("adapter", "check", tmp_path / "adapter")
    ours("adapter", "merge", tmp_path / "adapter", "--base", tmp_path / "base.safetensors",
         "--out", tmp_path / "merged.safetensors")
    written, theirs = load_file(tmp_path / "merged.safetensors"), merged(model)
    assert written.keys() == theirs.keys()
    for tensor_name, tensor in theirs.items():
        assert distance(written[tensor_name], tensor) <= 1e-6, tensor_name
    assert any(distance(written[n], t) > 1e-3 for n, t in base.state_dict().items())


def test_replicated_layers_are_refused(tmp_path):
    model = make_peft(make_llama(), r=4, target_modules=["q_proj"],
                      layer_replication=[(0, 2), (0, 2)])
    model.save_pretrained(tmp_path)
    with pytest.raises(Refused, match="repeated layers"):
        ours("adapter", "check", tmp_path)
