"""TorchScript models for tests, written by the PyTorch of the runtime's own environment. Run there, with a folder."""

from __future__ import annotations

import os
import sys

import torch


class AddSub(torch.nn.Module):
    def forward(self, first, second) -> tuple[torch.Tensor, torch.Tensor]:
        return first + second, first - second


class Shout(torch.nn.Module):
    def forward(self, words: list[str]) -> list[str]:
        return [word + "!" for word in words]


class Named(torch.nn.Module):
    def forward(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"sum": tensors["p"] + tensors["q"], "spare": tensors["p"]}


class Scaled(torch.nn.Module):
    def forward(self, x):
        if bool((x < 0).any()):
            raise RuntimeError("x is negative")
        return x * 2


def main(folder):
    for name, module in (
        ("add_sub", AddSub()),
        ("shout", Shout()),
        ("named", Named()),
        ("scaled", Scaled()),
    ):
        os.makedirs(os.path.join(folder, name))
        torch.jit.script(module).save(os.path.join(folder, name, "model.pt"))


main(sys.argv[1])
