"""Adapters handed over in both directions: the same logits and the same merged weights."""
import copy

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from peers import (DEEP, MLP, PADDED, TABLE, TEXT, check_same, distance, logits_of, make_base,
                  
make_input, make_peft, merged, run)

ALL = ["layers.0", "layers.2", "layers.4"]

# name: the model, and LoraConfig's options.
CASES = {
    "lora": (MLP, dict(r=4, lora_alpha=8, target_modules=ALL)),
    "dora": (MLP, dict(r=4, lora_alpha=8, target_modules=ALL, use_dora=True)),
    "rank_1": (MLP, dict(r=1, lora_alpha=2, target_modules=ALL)),
    "rank_1_dora": (MLP, dict(r=1, lora_alpha=2, target_modules=ALL, use_dora=True)),
    "rank_100": (MLP, dict(r=100, lora_alpha=50, target_modules=ALL)),
    "rank_100_dora": (MLP, dict(r=100, lora_alpha=50, target_modules=ALL, use_dora=True)),
    "rank_above_width": (MLP, dict(r=33, lora_alpha=16, target_modules=["layers.4"])),
    "negative_alpha": (MLP, dict(r=4, lora_alpha=-8, target_modules=ALL)),
    "negative_alpha_dora": (MLP, dict(r=4, lora_alpha=-8, target_modules=ALL, use_dora=True)),
    "fractional_alpha": (MLP, dict(r=3, lora_alpha=0.7, target_modules=ALL)),
    "fractional_alpha_dora": (MLP, dict(r=3, lora_alpha=0.7, target_modules=ALL, use_dora=True)),
    "zero_alpha": (MLP, dict(r=3, lora_alpha=0, target_modules=ALL)),
    "rslora": (MLP, dict(r=9, lora_alpha=6, target_modules=ALL, use_rslora=True)),
    "rslora_dora": (MLP, dict(r=9, lora_alpha=6, target_modules=ALL, use_rslora=True,
                              use_dora=True)),
    "rank_pattern": (MLP, dict(r=4, lora_alpha=8, target_modules=ALL,
                               rank_pattern={"layers.2": 7, "^layers.4": 2})),
    "alpha_pattern": (MLP, dict(r=4, lora_alpha=8, target_modules=ALL,
                                alpha_pattern={r"layers\.[24]": 1.5})),
    "both_patterns_rslora_dora": (MLP, dict(
        r=4, lora_alpha=4, target_modules=ALL, use_rslora=True, use_dora=True,
        rank_pattern={"layers.2": 9}, alpha_pattern={"layers.2": -3, "layers.0": 0.5})),
    "pattern_of_last_part": (DEEP, dict(r=4, lora_alpha=8, target_modules=["fc1", "fc2"],
                                        rank_pattern={"fc1": 2}, alpha_pattern={"1.fc2": 3})),
    "bias_all": (MLP, dict(r=4, target_modules=["layers.0"], bias="all")),
    "bias_all_dora": (MLP, dict(r=4, target_modules=["layers.2"], bias="all", use_dora=True)),
    "list_of_ends": (DEEP, dict(r=4, target_modules=["fc2"])),
    "list_of_names": (DEEP, dict(r=4, target_modules=["model.layers.1.fc1", "head"])),
    "one_name": (MLP, dict(r=4, target_modules=["2"])),
    "regex": (DEEP, dict(r=4, target_modules=r".*\.(0|2)\.fc[12]")),
    "regex_of_digits": (DEEP, dict(r=4, target_modules=r"model\.layers\.\d+\.(?:fc1)$",
                                   use_dora=True)),
    "all_linear": (MLP, dict(r=4, target_modules="all-linear")),
    "all_linear_beside_embedding": (TABLE, dict(r=4, target_modules="all-linear")),
    "exclusion_list": (DEEP, dict(r=4, target_modules=["fc1", "fc2"],
                                  exclude_modules=["model.layers.1.fc1", "2.fc2"])),
    "exclusion_regex": (DEEP, dict(r=4, target_modules="all-linear",
                                   exclude_modules=r".*\.1\..*|head")),
    "dropout": (MLP, dict(r=4, target_modules=ALL, lora_dropout=0.3)),
    "dropout_dora": (MLP, dict(r=4, target_modules=ALL, lora_dropout=0.3, use_dora=True)),
    "init_gaussian": (MLP, dict(r=4, target_modules=ALL, init_lora_weights="gaussian")),
    "layers_to_transform": (DEEP, dict(r=4, target_modules=["fc1", "fc2"],
                                       layers_to_transform=[0, 2], layers_pattern="layers")),
    "one_layer_to_transform": (DEEP, dict(r=4, target_modules=["fc1"], layers_to_transform=1)),
    "modules_to_save": (DEEP, dict(r=4, target_modules=["fc1"], modules_to_save=["head"])),
    "modules_to_save_dora": (DEEP, dict(r=4, target_modules=["fc2"], modules_to_save=["head"],
                                        use_dora=True)),
    "modules_to_save_bias_all": (DEEP, dict(r=4, target_modules=["fc2"], bias="all",
                                            modules_to_save=["head"])),
    "modules_to_save_all_linear": (DEEP, dict(r=4, target_modules="all-linear",
                                              modules_to_save=["head"])),
    "bias_lora_only": (MLP, dict(r=4, target_modules=["layers.0"], bias="lora_only")),
    "task_type": (MLP, dict(r=4, target_modules=ALL, task_type="FEATURE_EXTRACTION")),
    "embedding": (TABLE, dict(r=4, target_modules=["table"])),
    "embedding_dora": (TABLE, dict(r=4, target_modules=["table"], use_dora=True)),
    "embedding_and_linear": (TABLE, dict(r=4, target_modules=["table", "fc1"])),
    "embedding_and_linear_dora": (TABLE, dict(r=4, target_modules=["table", "fc1"],
                                              use_dora=True)),
    "embed_tokens": (TEXT, dict(r=4, target_modules=["embed_tokens"])),
    "embed_tokens_dora": (TEXT, dict(r=4, target_modules=["embed_tokens"], use_dora=True)),
    "embed_tokens_padded": (PADDED, dict(r=4, target_modules=["embed_tokens"])),
    "embed_tokens_padded_dora": (PADDED, dict(r=4, target_modules=["embed_tokens"],
                                              use_dora=True)),
    "lm_head": (TEXT, dict(r=4, target_modules=["lm_head", "fc1"])),
    "lm_head_and_embed_tokens": (TEXT, dict(r=4, target_modules=["lm_head", "embed_tokens"],
                                            use_dora=True)),
    "embed_tokens_saved_whole": (TEXT, dict(r=4, target_modules=["fc1"],
                                            modules_to_save=["embed_tokens", "lm_head"])),
}
# Options that say how PEFT starts; a new adapter here starts in its own ways.
ONLY_THEIRS = {
    "init_eva_name": dict(init_lora_weights=False),
    "init_orthogonal": dict(init_lora_weights="orthogonal"),
    "init_mica": dict(init_lora_weights="mica"),
}


def as_json(options):
    return {"peft_type": "LORA", **options}


@pytest.mark.parametrize("name", CASES)
def test_ours_to_peft(name, tmp_path):
    modules, options = CASES[name]
    base, x = make_base(modules), make_input(modules)
    result, _ = run(tmp_path, modules, base, x, config=as_json(options), perturb=0.05,
                    save_adapter=f"{tmp_path}/adapter")
    before = base(x)
    model = peft.PeftModel.from_pretrained(base, f"{tmp_path}/adapter").eval()
    logits = logits_of(model, x)
    assert options.get("lora_alpha") == 0 or distance(logits, before) > 5e-4
    check_same(result, logits, merged(model))


@pytest.mark.parametrize("name", [*CASES, *ONLY_THEIRS])
def test_peft_to_ours(name, tmp_path):
    modules, options = CASES.get(name) or (MLP, dict(r=4, target_modules=ALL, **ONLY_THEIRS[name]))
    base, x = make_base(modules), make_input(modules)
    model = make_peft(copy.deepcopy(base), **options)
    model.save_pretrained(tmp_path / "adapter")
    result, _ = run(tmp_path, modules, base, x, adapter=f"{tmp_path}/adapter")
    check_same(result, logits_of(model, x), merged(model))


@pytest.mark.parametrize("name", CASES)
def test_there_and_back(name, tmp_path):
    """PEFT's folder, loaded and saved here, is the same to PEFT: tensors, and what they mean."""
    modules, options = CASES[name]
    base, x = make_base(modules), make_input(modules)
    make_peft(copy.deepcopy(base), **options).save_pretrained(tmp_path / "adapter")
    run(tmp_path, modules, base, x, adapter=f"{tmp_path}/adapter",
        save_adapter=f"{tmp_path}/again")
    theirs = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    theirs = {n: t for n, t in theirs.items()  # without copies that PEFT itself does not read
              if ".modules_to_save." not in n and ".original_module." not in n}
    again = load_file(tmp_path / "again" / "adapter_model.safetensors")
    for tensor_name, tensor in again.items():
        assert torch.equal(tensor, theirs.pop(tensor_name)), tensor_name
    assert all(".base_layer." in tensor_name for tensor_name in theirs)  # the base has those
    model = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "adapter").eval()
    reloaded = peft.PeftModel.from_pretrained(base, tmp_path / "again").eval()
    assert torch.equal(logits_of(model, x), logits_of(reloaded, x))


# ---- folders that PEFT's users change, and what starts by changing the base ----------------------

@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("use_dora", [False, True])
def test_other_dtypes(dtype, use_dora, tmp_path):
    """An adapter whose tensors were saved in another dtype."""
    base, x = make_base(MLP), make_input(MLP)
    model = make_peft(copy.deepcopy(base), r=4, target_modules=ALL, use_dora=use_dora)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.copy_(p.to(dtype))
    model.save_pretrained(tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({n: t.to(dtype) for n, t in load_file(path).items()}, path, {"format": "pt"})
    result, _ = run(tmp_path, MLP, base, x, adapter=f"{tmp_path}/adapter")
    check_same(result, logits_of(model, x), merged(model))


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora"])
def test_converted(init, tmp_path):
    """PiSSA and OLoRA change the base. PEFT converts them to a LoRA of the original."""
    base, x = make_base(MLP), make_input(MLP)
    torch.manual_seed(4)
    model = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(
        r=4, target_modules=ALL, init_lora_weights=init)).eval()
    config = model.peft_config["default"]
    config.init_lora_weights = True
    model.save_pretrained(tmp_path / "start")
    config.init_lora_weights = init
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p += 0.02 * torch.randn_like(p)
    logits = logits_of(model, x)
    model.save_pretrained(tmp_path / "adapter",
                          path_initial_model_for_weight_conversion=tmp_path / "start")
    result, _ = run(tmp_path, MLP, base, x, adapter=f"{tmp_path}/adapter")
    assert distance(result["logits"], logits) <= 2e-5


def test_scaling_of_the_tutorials(tmp_path):
    """s = alpha, which PEFT lacks, is handed over as the lora_alpha that gives the same s."""
    base, x = make_base(MLP), make_input(MLP)
    result, _ = run(tmp_path, MLP, base, x, scaling="alpha", perturb=0.05,
                    config=dict(peft_type="LORA", r=4, lora_alpha=0.5, target_modules=ALL),
                    save_adapter=f"{tmp_path}/adapter")
    model = peft.PeftModel.from_pretrained(base, f"{tmp_path}/adapter").eval()
    assert model.peft_config["default"].lora_alpha == 2
    check_same(result, logits_of(model, x), merged(model))
