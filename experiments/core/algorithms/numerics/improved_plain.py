"""FedImpro for one world, class by class, as anybody would write it: the twin that the stacked form is tested with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from experiments.core.algorithms._feature_statistics import Rules, noise, normal, shape_of, start_of
from experiments.core.engine.algorithm import Batch, Plain, Reply, Setup, Turn, counted_samples
from experiments.core.engine.net import Net
from experiments.core.engine.split import path_of


class PlainImproved(Plain):
    """Statistics are [2, classes, D]: `memory` has the server's, `_own` those of the clients of this round."""

    def __init__(self, setup: Setup, rules: Rules) -> None:
        super().__init__(setup)
        self._rules, self._own = rules, dict[int, Tensor]()

    def loss(self, net: Net, module: nn.Module, batch: Batch, turn: Turn) -> Tensor:
        """The joint loss of one pass through the module, whose block at the split hands on drawn features as well."""
        shared = self._shared(batch)
        if batch.client not in self._own:
            self._own[batch.client] = shared.clone()
        own, (x, y, some) = self._own[batch.client], counted_samples(net, batch)
        labels = self._rules.drawn_labels(batch.y, self.setup.classes)
        real, share = self._rules.shares(turn, batch.epoch, len(batch.y), len(labels))
        drawn = self._drawn(own if self._rules.source == "local" else shared, labels, batch, turn)
        seen: list[Tensor] = []

        def hook(_block: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            seen.append(output.detach())
            return torch.cat([output, drawn.view(-1, *output.shape[1:])]) if share else output

        handle = module.get_submodule(path_of(module, self._rules.split)).register_forward_hook(hook)
        outputs, n = module(x), len(x)
        handle.remove()
        loss = net.losses(outputs[:n], y)[some].mean()
        self._move(own, seen[0].flatten(1)[some], y[some])
        if not share:
            return loss
        beside = net.losses(outputs[n:], labels)
        if self._rules.labels == "batch" and batch.weight is not None:
            beside = beside[batch.weight[0] != 0]
        return real * loss + share * beside.mean()

    def server(self, before: Tensor, replies: Sequence[Reply], turn: Turn) -> Tensor:
        """Eq. 7: each client's statistics count the same."""
        rules, sent = self._rules, []
        for reply in replies:
            own = self._own[reply.client] if reply.client in self._own else self.memory["statistics"]
            sent.append(own.flatten() + rules.noise * noise(self.setup, reply.client, turn, own.flatten()))
        old = self.memory["statistics"]
        new = torch.stack(sent).mean(0).view_as(old)
        self.memory["statistics"] = rules.server_momentum * old + (1 - rules.server_momentum) * new
        self._own.clear()
        return super().server(before, replies, turn)

    def _shared(self, batch: Batch) -> Tensor:
        if "statistics" not in self.memory:
            start = start_of(self._rules, batch.x, self.setup)
            self.memory["statistics"] = start.view(2, *shape_of(self._rules, self.setup))
        return self.memory["statistics"]

    def _drawn(self, statistics: Tensor, labels: Tensor, batch: Batch, turn: Turn) -> Tensor:
        mean, spread = statistics[0][labels], self._rules.deviation(statistics[1])[labels]
        return mean + spread * normal(self.setup, batch, turn, len(labels), statistics[0])

    def _move(self, own: Tensor, features: Tensor, y: Tensor) -> None:
        kept = self._rules.kept(own.shape[2])
        for label in y.unique():
            of_class = features[y == label]
            own[0, label] = kept * own[0, label] + (1 - kept) * of_class.mean(0)
            if len(of_class) > 1:
                spread = of_class.std(0) if self._rules.spread == "deviation" else of_class.var(0)
                own[1, label] = kept * own[1, label] + (1 - kept) * spread
        own[1] = self._rules.capped(own[1])
