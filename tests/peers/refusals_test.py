"""What slimgrad refuses: PEFT makes the folder, and the sentence is tested."""
import json

import peft
import pytest
from peft.tuners.lora.config import BdLoraConfig, KasaConfig, MontecloraConfig, VeloraConfig
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from peers import MLP, TEXT, Refused, make_base, make_input, make_peft, ours, run

ALL = ["layers.0", "layers.2", "layers.4"]

# name: the model, LoraConfig's options, and words of the sentence.
REFUSED = {
    "lora_bias": (MLP, dict(lora_bias=True), "a bias inside the adapter"),
    "pissa": (MLP, dict(init_lora_weights="pissa"), "may have changed the base's weights"),
    "pissa_niter": (MLP, dict(init_lora_weights="pissa_niter_2"), "may have changed the base's"),
    "olora": (MLP, dict(init_lora_weights="olora"), "may have changed the base's weights"),
    "trainable_tokens": (TEXT, dict(target_modules=["fc1"],
                                    trainable_token_indices={"embed_tokens": [1, 2]}),
                         "trained rows of an embedding"),
    "alora": (TEXT, dict(target_modules=["fc1"], alora_invocation_tokens=[1]),
              "adapters that wait for certain tokens"),
    "kasa": (MLP, dict(kasa_config=KasaConfig()), "KaSA's singular values"),
    "monteclora": (MLP, dict(monteclora_config=MontecloraConfig()), "MonteCLoRA's samples"),
    "velora": (MLP, dict(velora_config=VeloraConfig()), "VeLoRA's compressed"),
    "bdlora": (MLP, dict(use_bdlora=BdLoraConfig(target_modules_bd_a=["layers.2"], nblocks=2),
                         target_modules=["layers.2"]), "block-diagonal adapters"),
    "target_parameters": (MLP, dict(target_modules=[], target_parameters=["layers.2.weight"]),
                          "adapters on bare parameters"),
    "lookahead": (MLP, dict(target_modules=r"layers\.(?!2).*"), "lookahead"),
    "inline_flag": (MLP, dict(target_modules=r"(?i)LAYERS\.\d"), "(?i)"),
    "backreference": (MLP, dict(target_modules=r"(layers)\.[024](?=$)"), "lookahead"),
}


def refusal(folder):
    with pytest.raises(Refused) as refused:
        ours("adapter", "check", folder)
    return str(refused.value)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
    modules, options, words = REFUSED[name]
    make_peft(make_base(modules), **{"r": 4, "target_modules": ALL, **options}).save_pretrained(
        tmp_path / "adapter")
    sentence = refusal(tmp_path / "adapter")
    assert words in sentence
    with pytest.raises(Refused):  # attaching it, too
        run(tmp_path, modules, make_base(modules), make_input(modules),
            adapter=f"{tmp_path}/adapter")


@pytest.mark.parametrize("config", [
    peft.LoHaConfig(r=4, target_modules=ALL), peft.LoKrConfig(r=4, target_modules=ALL),
    peft.AdaLoraConfig(r=4, target_modules=ALL, total_step=10),
    peft.IA3Config(target_modules=ALL, feedforward_modules=[]),
    peft.VeraConfig(r=4, target_modules=["layers.2"]), peft.OFTConfig(target_modules=["layers.2"]),
], ids=lambda config: str(config.peft_type.value))
def test_other_methods(config, tmp_path):
    peft.get_peft_model(make_base(MLP), config).save_pretrained(tmp_path)
    assert "only LORA can be read" in refusal(tmp_path)


class Other(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer


def test_fan_in_fan_out(tmp_path):
    make_peft(Other(Conv1D(6, 4)), r=2, target_modules=["layer"],
              fan_in_fan_out=True).save_pretrained(tmp_path)
    assert "weights stored as (in, out)" in refusal(tmp_path)


@pytest.mark.parametrize("use_dora", [False, True])
def test_convolution(use_dora, tmp_path):
    make_peft(Other(nn.Conv2d(3, 4, 5)), r=2, target_modules=["layer"],
              use_dora=use_dora).save_pretrained(tmp_path)
    assert "belongs to a convolution" in refusal(tmp_path)


# ---- folders of LoRA that something happened to --------------------------------------------------

@pytest.fixture
def folder(tmp_path):
    make_peft(make_base(MLP), r=4, target_modules=ALL, use_dora=True).save_pretrained(tmp_path)
    return tmp_path


def change(folder, **options):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **options}))


def rename(folder, rename):
    path = folder / "adapter_model.safetensors"
    save_file({rename(n): t for n, t in load_file(path).items()}, path, {"format": "pt"})


def test_pickle(tmp_path):
    model = make_peft(make_base(MLP), r=4, target_modules=ALL)
    model.save_pretrained(tmp_path, safe_serialization=False)
    assert "is a pickle, which can execute code" in refusal(tmp_path)


def test_dora_called_lora(folder):
    change(folder, use_dora=False)
    assert "is for DoRA, but use_dora is false" in refusal(folder)


def test_lora_called_dora(tmp_path):
    make_peft(make_base(MLP), r=4, target_modules=ALL).save_pretrained(tmp_path)
    change(tmp_path, use_dora=True)
    assert "missing tensor base_model.model.layers.0.lora_magnitude_vector" in refusal(tmp_path)


def test_another_rank(folder):
    change(folder, r=8)
    assert "has shape (4, 784); by the rank" in refusal(folder)


def test_a_target_without_tensors(folder):
    change(folder, target_modules=[*ALL, "layers.6"])
    assert '"layers.6" matches no module' in refusal(folder)


def test_names_in_memory(tmp_path):
    model = make_peft(make_base(MLP), r=4, target_modules=ALL)
    model.save_pretrained(tmp_path)
    save_file({n: t.clone() for n, t in model.state_dict().items() if "lora_" in n},
              tmp_path / "adapter_model.safetensors", {"format": "pt"})
    assert 'has an adapter\'s name ("default") in it' in refusal(tmp_path)


def test_names_without_prefix(folder):
    rename(folder, lambda name: name.removeprefix("base_model.model."))
    assert "does not begin with base_model.model." in refusal(folder)


def test_another_base(folder, tmp_path):
    """A base whose layers have other sizes, and one whose layers have other names."""
    modules = [dict(m) for m in MLP]
    modules[1]["shape"], modules[2]["shape"] = [64, 128], [10, 64]
    with pytest.raises(Refused, match=r"layers\.2.* has shape .*must be"):
        run(tmp_path, modules, make_base(modules), make_input(modules), adapter=str(folder))
    modules = [{**m, "name": "net." + m["name"][-1]} for m in MLP]
    with pytest.raises(Refused, match="matches no module"):
        run(tmp_path, modules, make_base(modules), make_input(modules), adapter=str(folder))


def test_a_magnitude_per_input_is_not_saved(tmp_path):
    config = dict(peft_type="LORA", r=4, target_modules=ALL, use_dora=True)
    with pytest.raises(Refused, match="has a magnitude per input, and PEFT's DoRA has one per"):
        run(tmp_path, MLP, make_base(MLP), make_input(MLP), config=config, axis="in", perturb=0.01,
            save_adapter=f"{tmp_path}/adapter")
