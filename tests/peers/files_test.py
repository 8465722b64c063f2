"""safetensors files and state dicts: ours read by the real library, and the other way round."""
import copy
import json
import os
import runpy
import struct
import subprocess

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from peers import MLP, ROOT, TEXT, distance, make_base, make_input, make_peft, merged, ours, run

HERE = os.path.dirname(os.path.abspath(__file__))
DTYPES = list(safetensors.torch._SIZE)


class MultilayerPerceptron(nn.Module):
    """The notebook's."""

    def __init__(self, num_features, num_hidden_1, num_hidden_2, num_classes):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(num_features, num_hidden_1), nn.ReLU(),
            nn.Linear(num_hidden_1, num_hidden_2), nn.ReLU(),
            nn.Linear(num_hidden_2, num_classes))

    def forward(self, x):
        return self.layers(x)


def parts(data):
    """The header's entries in their order, without the metadata, and the bytes of the tensors."""
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:begin])
    metadata = header.pop("__metadata__", {})
    return list(header.items()), data[begin:], metadata


# ---- every dtype ---------------------------------------------------------------------------------

def some(dtype):
    generator = torch.Generator().manual_seed(5)
    bits = torch.randint(0, 256, (3, 4 * safetensors.torch._SIZE[dtype]), dtype=torch.uint8,
                         generator=generator)
    return bits % 2 == 1 if dtype == torch.bool else bits.view(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def test_dtype(dtype, tmp_path):
    """A base with tensors of this dtype, which merging copies."""
    make_peft(make_base(MLP), r=2, target_modules=["layers.2"]).save_pretrained(tmp_path)
    others = {"other": some(dtype), "empty": some(dtype)[:0].clone()}
    if "x2" not in str(dtype):  # of which two make a byte
        others["scalar"] = some(dtype)[0, :1].reshape(()).clone()
    base = {**make_base(MLP).state_dict(), **others}
    save_file(base, tmp_path / "base.safetensors", {"format": "pt"})
    ours("adapter", "merge", tmp_path, "--base", tmp_path / "base.safetensors",
         "--out", tmp_path / "merged.safetensors")
    before = parts((tmp_path / "base.safetensors").read_bytes())
    after = parts((tmp_path / "merged.safetensors").read_bytes())
    assert before[0] == after[0] and before[2] == after[2]  # dtypes, shapes and their order
    for name, entry in before[0]:
        begin, end = entry["data_offsets"]
        if name != "layers.2.weight":
            assert before[1][begin:end] == after[1][begin:end], name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_base_of_dtype(dtype, tmp_path):
    """A base that is loaded, and one that is merged into, in its own dtype."""
    base, x = make_base(MLP).to(dtype), make_input(MLP)
    model = make_peft(copy.deepcopy(base).float(), r=4, target_modules=["layers.2"])
    model.save_pretrained(tmp_path / "adapter")
    result, _ = run(tmp_path, MLP, base, x)
    with torch.no_grad():
        assert distance(result["logits"], copy.deepcopy(base).float()(x)) <= 2e-5
    ours("adapter", "merge", tmp_path / "adapter", "--base", tmp_path / "base.safetensors",
         "--out", tmp_path / "merged.safetensors")
    written = load_file(tmp_path / "merged.safetensors")
    for name, tensor in merged(model).items():
        assert written[name].dtype == dtype
        assert distance(written[name], tensor) <= 1e-6 + torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_all_values_of_16_bits(dtype, tmp_path):
    """Each that is a number comes to the same float."""
    values = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(dtype)
    values = torch.where(values.isfinite(), values, torch.zeros((), dtype=dtype)).view(256, 256)
    modules = [{"name": "w", "kind": "embedding", "shape": [256, 256]}]
    result, _ = run(tmp_path, modules, {"w.weight": values}, torch.arange(256))
    assert torch.equal(result["logits"], values.float())


# ---- the MLP's state dict ------------------------------------------------------------------------

def test_state_dict_to_torch(tmp_path):
    base, x = make_base(MLP), make_input(MLP)
    result, _ = run(tmp_path, MLP, base, x, perturb=0.05, save=f"{tmp_path}/model.safetensors",
                    config=dict(peft_type="LORA", r=4, target_modules="all-linear"))
    model = MultilayerPerceptron(784, 128, 256, 10)
    model.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    with torch.no_grad():
        assert distance(result["logits"], model(x)) <= 2e-5


def test_state_dict_to_ours(tmp_path):
    torch.manual_seed(6)
    model, x = MultilayerPerceptron(784, 128, 256, 10), make_input(MLP)
    result, _ = run(tmp_path, MLP, model, x)
    with torch.no_grad():
        assert distance(result["logits"], model(x)) <= 2e-5


@pytest.mark.parametrize("modules", [MLP, TEXT], ids=["linear", "embedding"])
def test_printed_model(modules, tmp_path):
    base = make_base(modules)
    _, printed = run(tmp_path, modules, base, make_input(modules))
    assert printed.strip() == repr(base).replace("LanguageModel(", "Net(")


# ---- what the programs write ---------------------------------------------------------------------

@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which build/mnist has trained and saved, on a few images of noise."""
    folder = tmp_path_factory.mktemp("trained")
    random = np.random.default_rng(7)
    for kind, n in ("train", 256), ("t10k", 64):
        labels = random.integers(0, 10, n, np.uint8)
        images = random.integers(0, 256, (n, 28, 28), np.uint8)
        (folder / f"{kind}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 0x801, n) + labels.tobytes())
        (folder / f"{kind}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 0x803, n, 28, 28) + images.tobytes())
    subprocess.run([os.path.join(ROOT, "build", "mnist"), "--data", ".", "--epochs", "1", "--save",
                    "out", "--preset", "peft", "--method", "dora", "--save-adapter", "out/dora"],
                   cwd=folder, check=True, capture_output=True)
    return folder


def test_every_file_is_read(trained):
    """And the real library would write the same bytes. It has no order for metadata."""
    paths = list(trained.glob("out/**/*.safetensors"))
    assert {p.name for p in paths} >= {"base.safetensors", "adapter_model.safetensors"}
    for path in paths:
        data = path.read_bytes()
        again = safetensors.torch.save(load_file(path), parts(data)[2])
        assert parts(data) == parts(again) and len(data) == len(again), path


def test_handover(trained, monkeypatch, capsys):
    """The README's Python: the base and the adapter of build/mnist, in PyTorch and PEFT."""
    monkeypatch.chdir(trained)
    python = runpy.run_path(os.path.join(HERE, "handover.py"))
    assert capsys.readouterr().out.startswith("tensor([")
    x = make_input(MLP)
    with torch.no_grad():
        logits = python["model"](x)
    result, _ = run(trained, MLP, load_file("out/base.safetensors"), x, adapter="out/dora")
    assert distance(result["logits"], logits) <= 2e-5


def test_handover_is_in_the_readme():
    with open(os.path.join(HERE, "handover.py")) as code, \
            open(os.path.join(ROOT, "README.md")) as readme:
        assert code.read() in readme.read()
