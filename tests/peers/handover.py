import peft
import torch
from safetensors.torch import load_file
from torch import nn


class MultilayerPerceptron(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 256), nn.ReLU(),
                                    nn.Linear(256, 10))

    def forward(self, x):
        return self.layers(x)


base = MultilayerPerceptron()
base.load_state_dict(load_file("out/base.safetensors"), strict=True)
model = peft.PeftModel.from_pretrained(base, "out/dora")
print(model(torch.rand(1, 784)).argmax(dim=1))
