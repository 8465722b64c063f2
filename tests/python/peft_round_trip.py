#!/usr/bin/python3
"""An independent reader and writer of PEFT's adapter folders, to hold slimgrad's against.

Shares no code with slimgrad: numpy and json only, all sums in double precision. The model is an MLP:
the Linear layers named in the base file, in order, with ReLU between them.

    peft_round_trip.py check FOLDER BASE IO
        IO has x and logits: rebuilds the logits from the folder and the base, and compares.
    peft_round_trip.py write FOLDER BASE IO {lora,dora,rslora}
        IO has x: writes an adapter into FOLDER, and its logits, with x, to IO.out.

Called by tests/nn/peft_test.cpp.
"""
import json
import os
import re
import struct
import sys

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
PREFIX = "base_model.model."
ALWAYS = {"peft_type", "r", "lora_alpha", "lora_dropout", "target_modules", "use_dora",
          "use_rslora", "fan_in_fan_out", "bias", "init_lora_weights", "inference_mode",
          "task_type", "rank_pattern", "alpha_pattern", "base_model_name_or_path"}


def read_safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        flat = np.frombuffer(data[8 + length + begin:8 + length + end], DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return tensors, metadata


def write_safetensors(path, tensors):
    names = {np.dtype(v).str: k for k, v in DTYPES.items()}
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, x in tensors.items():
        raw = np.ascontiguousarray(x).tobytes()
        header[name] = {"dtype": names[x.dtype.str], "shape": list(x.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def is_target(config, name):
    targets = config["target_modules"]
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return name in targets or any(name.endswith("." + t) for t in targets)


def from_pattern(pattern, name, otherwise):
    for key, value in pattern.items():
        if re.match(rf"(.*\.)?({key})$", name):
            return value
    return otherwise


def logits_of(x, base, adapter, config):
    """The forward pass, with the adapter beside the weights for LoRA and by definition for DoRA."""
    used = set()

    def take(name):
        used.add(name)
        return adapter[name].astype(np.float64)

    layers = sorted((k[:-len(".weight")] for k in base if k.endswith(".weight")),
                    key=lambda name: int(name.split(".")[-1]))
    for i, name in enumerate(layers):
        W = base[name + ".weight"].astype(np.float64)
        b = base[name + ".bias"].astype(np.float64)
        if is_target(config, name) and config["bias"] != "none":
            b = take(PREFIX + name + ".base_layer.bias")
        elif config["bias"] == "all":
            b = take(PREFIX + name + ".bias")
        if is_target(config, name):
            A = take(PREFIX + name + ".lora_A.weight")
            B = take(PREFIX + name + ".lora_B.weight")
            r = from_pattern(config["rank_pattern"], name, config["r"])
            alpha = from_pattern(config["alpha_pattern"], name, config["lora_alpha"])
            assert A.shape == (r, W.shape[1]) and B.shape == (W.shape[0], r), (name, A.shape, r)
            s = alpha / (r ** 0.5 if config["use_rslora"] else r)
            if config["use_dora"]:
                V = W + s * (B @ A)
                m = take(PREFIX + name + ".lora_magnitude_vector")
                assert m.shape == (W.shape[0],), (name, m.shape)
                y = x @ (V * (m / np.linalg.norm(V, axis=1))[:, None]).T + b
            else:
                y = x @ W.T + s * (x @ A.T) @ B.T + b
        else:
            y = x @ W.T + b
        x = np.maximum(y, 0) if i + 1 < len(layers) else y
    assert used == set(adapter), f"not used: {set(adapter) - used}"
    return x


def check(folder, base_path, io_path):
    with open(os.path.join(folder, "adapter_config.json")) as f:
        text = f.read()
    config = json.loads(text)
    assert ALWAYS <= set(config), f"keys are missing: {ALWAYS - set(config)}"
    assert text == json.dumps(config, indent=2, sort_keys=True) + "\n", "keys sorted, indent 2"
    assert config["peft_type"] == "LORA" and config["fan_in_fan_out"] is False
    adapter, metadata = read_safetensors(os.path.join(folder, "adapter_model.safetensors"))
    assert metadata["format"] == "pt", metadata
    assert all(x.dtype == np.float32 for x in adapter.values())
    base, _ = read_safetensors(base_path)
    io, _ = read_safetensors(io_path)
    logits = logits_of(io["x"].astype(np.float64), base, adapter, config)
    plain = logits_of(io["x"].astype(np.float64), base, {},
                      {**config, "bias": "none", "target_modules": []})
    difference = np.abs(logits - io["logits"]).max()
    print(f"{folder}: largest difference {difference:.3g} of logits up to {np.abs(logits).max():.3g}")
    assert np.abs(logits - plain).max() > 0.01, "the adapter does nothing"
    assert difference <= 1e-5 * max(1, np.abs(logits).max()), difference


def write(folder, base_path, io_path, method):
    base, _ = read_safetensors(base_path)
    x = read_safetensors(io_path)[0]["x"]
    rng = np.random.default_rng(7)
    # As PEFT writes it, with keys that slimgrad has no use for.
    config = {"alora_invocation_tokens": None, "auto_mapping": {"base_model_class": "MLP"},
              "arrow_config": None, "base_model_name_or_path": None, "bias": "none",
              "corda_config": None, "eva_config": None, "exclude_modules": None,
              "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True,
              "layer_replication": None, "layers_pattern": None, "layers_to_transform": None,
              "loftq_config": {}, "lora_alpha": 6, "lora_bias": False, "lora_dropout": 0.1,
              "megatron_config": None, "megatron_core": "megatron.core", "modules_to_save": None,
              "peft_type": "LORA", "peft_version": "0.18.0", "qalora_group_size": 16, "r": 3,
              "rank_pattern": {"layers.2": 2}, "alpha_pattern": {"2": 5}, "revision": None,
              "target_modules": ["0", "layers.2"] if method != "rslora" else r"layers\.(0|2|4)",
              "target_parameters": None, "task_type": None, "trainable_token_indices": None,
              "use_dora": method == "dora", "use_qalora": False, "use_rslora": method == "rslora"}
    dtype = np.float16 if method == "lora" else np.float32
    adapter = {}
    for key, W in base.items():
        name = key[:-len(".weight")]
        if not key.endswith(".weight") or not is_target(config, name):
            continue
        r = from_pattern(config["rank_pattern"], name, config["r"])
        adapter[PREFIX + name + ".lora_B.weight"] = rng.normal(0, 0.5, (W.shape[0], r)).astype(dtype)
        adapter[PREFIX + name + ".lora_A.weight"] = rng.normal(0, 0.5, (r, W.shape[1])).astype(dtype)
        if method == "dora":
            m = np.linalg.norm(W, axis=1) * rng.uniform(0.5, 1.5, W.shape[0])
            adapter[PREFIX + name + ".lora_magnitude_vector"] = m.astype(np.float32)
    os.makedirs(folder)
    with open(os.path.join(folder, "adapter_config.json"), "w") as f:
        json.dump(config, f, indent=2, sort_keys=True)
    write_safetensors(os.path.join(folder, "adapter_model.safetensors"), adapter)
    logits = logits_of(x.astype(np.float64), base, adapter, config)
    write_safetensors(io_path + ".out", {"x": x, "logits": logits})


if __name__ == "__main__":
    {"check": check, "write": write}[sys.argv[1]](*sys.argv[2:])
