"""What the tests share: the same models in torch, adapters on them by PEFT, and slimgrad's side,
build/peer, which does one job per call."""
import json
import os
import subprocess
import warnings

import numpy as np
import peft
import torch
from safetensors.torch import load_file, save_file
from torch import nn

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PREFIX = "base_model.model."

torch.set_num_threads(1)
# PEFT only warns when an adapter's file and its configuration do not fit.
warnings.filterwarnings("error", message="Found missing adapter keys")


# ---- models: a list of modules, each with a Linear's or an Embedding's shape ---------------------

def linear(name, inputs, outputs, bias=True):
    return {"name": name, "shape": [outputs, inputs], "bias": bias}


def embedding(name, rows, dim, padding_idx=None):
    return {"name": name, "kind": "embedding", "shape": [rows, dim], "padding_idx": padding_idx}


MLP = [linear("layers.0", 784, 128), linear("layers.2", 128, 256), linear("layers.4", 256, 10)]
DEEP = [linear(f"model.layers.{i}.{name}", a, b, bias) for i in range(3)
        for name, a, b, bias in (("fc1", 784 if i == 0 else 24, 32, True), ("fc2", 32, 24, False))]
DEEP.append(linear("head", 24, 10))
TEXT = [embedding("embed_tokens", 50, 24), linear("fc1", 24, 32), linear("lm_head", 32, 50, False)]
PADDED = [embedding("embed_tokens", 50, 24, padding_idx=3)] + TEXT[1:]
TABLE = [embedding("enc.table", 50, 24, padding_idx=0), linear("enc.fc1", 24, 32)]


class Group(nn.Module):
    """A part of a dotted name that is not the last."""


class Net(Group):
    """The modules one after another, with ReLU between two Linears, as in peer.cpp."""

    def __init__(self, modules):
        super().__init__()
        self.order = [m["name"] for m in modules]
        for m in modules:
            *path, last = m["name"].split(".")
            group = self
            for part in path:
                if not hasattr(group, part):
                    group.add_module(part, Group())
                group = getattr(group, part)
            rows, columns = m["shape"]
            group.add_module(last, nn.Embedding(rows, columns, m["padding_idx"]) if "kind" in m
                             else nn.Linear(columns, rows, m["bias"]))

    def forward(self, x):
        first_activation = 1 if x.dtype.is_floating_point else 2
        for i, name in enumerate(self.order):
            x = self.get_submodule(name)(torch.relu(x) if i >= first_activation else x)
        return x


class LanguageModel(Net):
    """PEFT asks models of transformers for these two layers, and saves their weights."""

    def get_input_embeddings(self):
        return self.embed_tokens

    def get_output_embeddings(self):
        return self.lm_head


def make_base(modules, dtype=torch.float32):
    torch.manual_seed(1)
    is_text = modules[0]["name"] == "embed_tokens"
    return (LanguageModel if is_text else Net)(modules).to(dtype)


def make_input(modules, dtype=torch.float32, rows=1000):
    """1,000 ids, or 1,000 MNIST images; images of noise where MNIST is not there."""
    generator = torch.Generator().manual_seed(2)
    if "kind" in modules[0]:
        return torch.randint(modules[0]["shape"][0], (rows,), generator=generator)
    path = os.path.join(ROOT, "data", "mnist", "t10k-images-idx3-ubyte")
    if os.path.exists(path):
        pixels = np.fromfile(path, np.uint8, rows * 784, offset=16).reshape(rows, 784)
        return torch.tensor(pixels).to(dtype) / 255
    x = torch.rand(rows, 784, generator=generator)
    return (x * (torch.rand(rows, 784, generator=generator) < 0.2)).to(dtype)


# ---- PEFT's side ---------------------------------------------------------------------------------

def make_peft(base, deviation=0.05, **options):
    """Adapts the base, and moves what is trained away from its start."""
    torch.manual_seed(4)
    model = peft.get_peft_model(base, peft.LoraConfig(**options))
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p += deviation * torch.randn_like(p)
    return model.eval()


def logits_of(model, x):
    """PeftModel.forward() gives x the name that a task_type calls for; the model takes any x."""
    with torch.no_grad():
        return model.get_base_model()(x)


def merged(model):
    """The state dict of a PeftModel with its adapter worked in, as plain modules have it."""
    return {name.replace(".modules_to_save.default", ""): tensor
            for name, tensor in model.merge_and_unload().state_dict().items()
            if ".original_module." not in name}


# ---- slimgrad's side -----------------------------------------------------------------------------

class Refused(Exception):
    pass


def run(folder, modules, base, x, dy=None, double=False, **job):
    """Runs build/peer in the folder; returns its output file as a dict, and what it printed."""
    folder = str(folder)
    if isinstance(base, nn.Module):
        base = base.state_dict()
    save_file(base, f"{folder}/base.safetensors")
    tensors = {"x" if x.dtype.is_floating_point else "ids": x}
    if dy is not None:
        tensors["dy"] = dy
    save_file(tensors, f"{folder}/input.safetensors")
    job = {"modules": modules, "base": f"{folder}/base.safetensors",
           "input": f"{folder}/input.safetensors", "out": f"{folder}/out.safetensors", **job}
    with open(f"{folder}/job.json", "w") as file:
        json.dump(job, file)
    printed = ours("variant-double/peer" if double else "peer", f"{folder}/job.json")
    return load_file(job["out"]), printed


def ours(program, *arguments):
    """Runs a program of build/; returns what it printed. An error is its sentence."""
    done = subprocess.run([os.path.join(ROOT, "build", program), *map(str, arguments)],
                          capture_output=True, text=True)
    if done.returncode == 1:
        raise Refused(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return done.stdout


def distance(a, b):
    assert a.shape == b.shape
    return (a.double() - b.double()).abs().max().item()


def check_same(result, logits, state, logits_within=2e-5, weights_within=1e-6):
    """Holds what build/peer wrote against PEFT's logits and merged weights."""
    assert distance(result["logits"], logits) <= logits_within
    assert distance(result["merged_logits"], logits) <= logits_within
    assert {n for n in result if n.startswith("merged.")} == {"merged." + n for n in state}
    for name, tensor in state.items():
        assert distance(result["merged." + name], tensor) <= weights_within, name
