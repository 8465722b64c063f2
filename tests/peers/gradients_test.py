"""The gradients of one step, in double: PEFT's, which detaches the norm, and torch's exact ones."""
import copy

import pytest
import torch
from torch.func import functional_call

from peers import MLP, PADDED, PREFIX, TABLE, TEXT, distance, make_base, make_input, make_peft, run

ALL = ["layers.0", "layers.2", "layers.4"]
ROWS = 16

CASES = {
    "lora": (MLP, dict(target_modules=ALL)),
    "dora": (MLP, dict(target_modules=ALL, use_dora=True)),
    "lora_rank_1": (MLP, dict(target_modules=ALL, r=1)),
    "dora_rank_1": (MLP, dict(target_modules=ALL, r=1, use_dora=True)),
    "dora_rank_40": (MLP, dict(target_modules=ALL, r=40, use_dora=True)),
    "dora_rslora": (MLP, dict(target_modules=ALL, use_dora=True, use_rslora=True)),
    "dora_negative_alpha": (MLP, dict(target_modules=ALL, lora_alpha=-3, use_dora=True)),
    "dora_one_layer": (MLP, dict(target_modules=["layers.2"], use_dora=True)),
    "lora_bias_all": (MLP, dict(target_modules=["layers.2"], bias="all")),
    "dora_bias_all": (MLP, dict(target_modules=["layers.2"], bias="all", use_dora=True)),
    "lora_bias_lora_only": (MLP, dict(target_modules=["layers.2"], bias="lora_only")),
    "modules_to_save": (MLP, dict(target_modules=["layers.2"], modules_to_save=["layers.4"])),
    "embedding": (TEXT, dict(target_modules=["embed_tokens", "fc1"])),
    "embedding_dora": (TEXT, dict(target_modules=["embed_tokens", "fc1"], use_dora=True)),
    "padded": (PADDED, dict(target_modules=["embed_tokens"])),
    "padded_dora": (PADDED, dict(target_modules=["embed_tokens"], use_dora=True)),
    "table_dora": (TABLE, dict(target_modules=["table"], use_dora=True)),
}


def check_gradients(result, gradients):
    """Each within 1e-12 of the largest number in it."""
    assert {"grad." + name for name in gradients} == {n for n in result if n.startswith("grad.")}
    for name, gradient in gradients.items():
        largest = gradient.abs().max().item()
        assert largest > 0, name
        assert distance(result["grad." + name], gradient) <= 1e-12 * largest, name


@pytest.mark.parametrize("name", CASES)
def test_peft(name, tmp_path):
    modules, options = CASES[name]
    base, x = make_base(modules, torch.double), make_input(modules, torch.double, ROWS)
    model = make_peft(copy.deepcopy(base), **{"r": 4, **options}).train()
    model.save_pretrained(tmp_path / "adapter")
    logits = model(x)
    dy = torch.randn_like(logits)
    logits.backward(dy)
    gradients = {n.removeprefix(PREFIX).replace(".default", "").replace(".modules_to_save", "")
                 .replace("vector.weight", "vector").replace(".base_layer", ""): p.grad
                 for n, p in model.named_parameters() if p.requires_grad}
    result, _ = run(tmp_path, modules, base, x, dy, double=True, step=0.01,
                    adapter=f"{tmp_path}/adapter")
    check_gradients({n.replace(".linear.", "."): t for n, t in result.items()}, gradients)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p -= 0.01 * p.grad
        assert distance(result["logits_after_step"], model(x)) <= 1e-11


def merged_weights(base, values, scaling, axis):
    """W + s B A, or that with the norms set to m: the definition."""
    weights = {}
    for name in {n.rsplit(".lora_", 1)[0] for n in values}:
        weight = base.get_parameter(name + ".weight")
        if name + ".lora_embedding_A" in values:
            V = weight + scaling * (values[name + ".lora_embedding_B"]
                                    @ values[name + ".lora_embedding_A"]).T
            dim = 0
        else:
            V = weight + scaling * (values[name + ".lora_B.weight"]
                                    @ values[name + ".lora_A.weight"])
            dim = 1 if axis == "out" else 0
        m = values.get(name + ".lora_magnitude_vector")
        if m is not None:
            V = m.unsqueeze(dim) * V / V.norm(dim=dim, keepdim=True)
        weights[name + ".weight"] = V
    return weights


@pytest.mark.parametrize("form", ["factored", "merged"])
@pytest.mark.parametrize("axis", ["out", "in"])
@pytest.mark.parametrize("rank", [1, 4, 40])
def test_exact(form, axis, rank, tmp_path):
    check_exact(MLP, dict(r=rank, lora_alpha=5, target_modules=ALL, use_dora=True), tmp_path,
                form=form, axis=axis)


@pytest.mark.parametrize("use_dora", [False, True])
def test_exact_embedding(use_dora, tmp_path):
    check_exact(TEXT, dict(r=4, lora_alpha=5, target_modules=["embed_tokens", "lm_head"],
                           use_dora=use_dora), tmp_path)


def test_exact_is_not_detached(tmp_path):
    """Else the tests above could not tell the two apart."""
    config = dict(peft_type="LORA", r=4, target_modules=ALL, use_dora=True)
    base, x = make_base(MLP, torch.double), make_input(MLP, torch.double, ROWS)
    dy = torch.ones(ROWS, 10, dtype=torch.double)
    both = [run(tmp_path, MLP, base, x, dy, double=True, config=config, perturb=0.05,
                norm_gradient=norm_gradient)[0] for norm_gradient in ("exact", "detached")]
    A, m = (f"grad.layers.2.{end}" for end in ("lora_A.weight", "lora_magnitude_vector"))
    assert distance(both[0][A], both[1][A]) > 1e-3 * both[0][A].abs().max()
    assert distance(both[0][m], both[1][m]) <= 1e-12 * both[0][m].abs().max()


def check_exact(modules, config, tmp_path, axis="out", **job):
    base, x = make_base(modules, torch.double), make_input(modules, torch.double, ROWS)
    with torch.no_grad():
        dy = torch.randn_like(base(x))
    result, _ = run(tmp_path, modules, base, x, dy, double=True, perturb=0.05, axis=axis,
                    norm_gradient="exact", config={"peft_type": "LORA", **config}, **job)
    values = {n.removeprefix("value."): t.requires_grad_() for n, t in result.items()
              if n.startswith("value.")}
    scaling = config["lora_alpha"] / config["r"]
    logits = functional_call(base, merged_weights(base, values, scaling, axis), (x,))
    logits.backward(dy)
    assert distance(result["logits"], logits) <= 1e-12
    check_gradients(result, {name: value.grad for name, value in values.items()})
