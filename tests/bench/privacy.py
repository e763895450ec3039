"""DP-FedAvg's share of training time: clipping and noise, timed inside the run they belong to.

ResNet-18 (11 million parameters) on the CPU; with CUDA the same and a transformer of GPT's size (117 million), as in
Table II of Gill et al. 2025. The floor: below 5 %. Clients here hold 128 and 320 samples; the paper's, up to 2048: the
cost of privacy is one of models, not of samples, so its share is smaller there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from experiments.core.algorithms.fedavg import FedAvg
from experiments.core.engine.federation import Federation
from experiments.core.engine.formulations import formulations
from experiments.core.engine.local import LocalTraining
from experiments.core.engine.net import Net
from experiments.core.engine.privacy import Privacy
from experiments.core.engine.problem import Problem
from experiments.core.engine.schedule import draw_schedule
from experiments.core.engine.simulate import simulate
from experiments.core.engine.worlds import BASE

FLOOR = 0.05
VOCABULARY, LENGTH = 40_478, 128


class Clocked(Privacy):
    """Privacy that adds up the seconds it takes; the device is waited for on both sides."""

    spent = 0.0

    def clipped(self, start: Tensor, trained: Tensor) -> Tensor:
        """See `Privacy.clipped`."""
        return self._timed(start.device, lambda: super(Clocked, self).clipped(start, trained))

    def draw(self, like: Tensor, seed: int, t: int, participants: int) -> Tensor:
        """See `Privacy.draw`."""
        return self._timed(like.device, lambda: super(Clocked, self).draw(like, seed, t, participants))

    def _timed(self, device: torch.device, work: Callable[[], Tensor]) -> Tensor:
        wait(device)
        began = time.perf_counter()
        result = work()
        wait(device)
        Clocked.spent += time.perf_counter() - began
        return result


class Transformer(nn.Module):
    """Twelve blocks of width 768 over token ids [n, 128]: as large as GPT (Radford et al. 2018)."""

    def __init__(self, classes: int = 14) -> None:
        super().__init__()
        block = nn.TransformerEncoderLayer(768, 12, 3072, 0.0, "gelu", batch_first=True)
        self.words, self.places = nn.Embedding(VOCABULARY, 768), nn.Embedding(LENGTH, 768)
        self.blocks, self.head = nn.TransformerEncoder(block, 12, enable_nested_tensor=False), nn.Linear(768, classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [n, classes]."""
        return self.head(self.blocks(self.words(ids) + self.places.weight)[:, -1])


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def federation(x: Tensor, clients: int, samples: int, classes: int, device: str) -> Federation:
    """Equal clients of random labels."""
    y = torch.randint(0, classes, (len(x),), generator=torch.Generator().manual_seed(1))
    offsets = tuple(range(0, clients * samples + 1, samples))
    x, y = x.to(device), y.to(device)
    return Federation(x, y, offsets, x[:4], y[:4], tuple(map(str, range(clients))), classes, "random")


def share(name: str, module: nn.Module, data: Federation, local: LocalTraining, rounds: int) -> float:
    """Seconds of privacy over the seconds of the rest of the run."""
    device = data.x.device
    net, clients = Net.of(module.to(device)), len(data.sizes)
    kind: Any = formulations()["looped"](net)
    schedule = draw_schedule(0, clients, clients, rounds + 1)
    privacy, marks = Clocked(15.0, 0.003), []

    def mark(*_: int) -> None:
        wait(device)
        marks.append((time.perf_counter(), Clocked.spent))

    simulate(
        Problem(net, data, schedule, local, FedAvg(), 0, privacy), [BASE], net.flat(), kind, threads=1, progress=mark
    )
    (began, before), (ended, after) = marks[0], marks[-1]  # the first round warms up
    private, whole = after - before, ended - began
    print(
        f"DP-FedAvg, {name}, p = {net.p}, {clients} clients of {data.sizes[0]}, {device}: training "
        f"{(whole - private) / rounds:.2f} s a round, clipping and noise {private / rounds:.3f} s: "
        f"{100 * private / (whole - private):.2f} % (floor: below {100 * FLOOR:.0f} %)"
    )
    return private / (whole - private)


def main() -> float:
    """The largest share."""
    torch.set_num_threads(1)
    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    g = torch.Generator().manual_seed(0)
    images = torch.rand(5 * 128, 3, 32, 32, generator=g)
    adam, adamw = (
        LocalTraining(lr, epochs=2, batch_size=32, optimizer=kind) for lr, kind in ((1e-3, "adam"), (5e-5, "adamw"))
    )
    found = [
        share("ResNet-18", resnet18(num_classes=10), federation(images, 5, 128, 10, device), adam, 1)
        for device in devices
    ]
    if "cuda" in devices:
        ids = torch.randint(0, VOCABULARY, (10 * 320, LENGTH), generator=g)
        found.append(share("transformer", Transformer(), federation(ids, 10, 320, 14, "cuda"), adamw, 1))
    return max(found)


if __name__ == "__main__":
    main()
