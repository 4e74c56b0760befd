"""Weights of PyTorch's optimisers over a few steps, for nn/src/optim/tests.rs.

    python nn/tests/golden/make_optim.py        # writes optim.json beside this file (PyTorch 2.15, CPU)

Weight i of 5 starts at (i - 2) / 2; the gradient of step t, counted from 1, is ((7 t + 3 i) mod 11 - 5) / 4, exact in
f32; the learning rate is 0.1 / t.
"""
import json, os
import torch


def grad(t):
    return torch.tensor([((7 * t + 3 * i) % 11 - 5) / 4 for i in range(5)])


def run(make):
    w = torch.nn.Parameter(torch.tensor([(i - 2) / 2 for i in range(5)]))
    opt = make([w])
    steps = []
    for t in range(1, 7):
        opt.param_groups[0]["lr"] = 0.1 / t
        w.grad = grad(t)
        opt.step()
        steps.append(w.tolist())
    return steps


SGD, Adam, AdamW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
CASES = {
    "sgd plain": lambda p: SGD(p, lr=1, weight_decay=0.01),
    "sgd momentum": lambda p: SGD(p, lr=1, momentum=0.9, weight_decay=0.01),
    "sgd nesterov": lambda p: SGD(p, lr=1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: Adam(p, lr=1, betas=(0.9, 0.999), weight_decay=0.01),
    "adamw": lambda p: AdamW(p, lr=1, betas=(0.8, 0.95), weight_decay=0.1),
}
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "optim.json"), "w") as f:
    json.dump({name: run(make) for name, make in CASES.items()}, f, indent=0)
    f.write("\n")
