"""Trying a model out on a few samples: misfits in one line each, and what cannot be read off its layers' types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from experiments.core.engine.draws import Watch, drawing, standing
from experiments.core.engine.federation import Federation
from experiments.core.engine.net import Net, clone
from experiments.core.errors import SpecError

_SAMPLES = 4


def examine(net: Net, federation: Federation) -> Net:
    """`net` with what passes through its module showed: whether it draws random numbers, which counters it needs.

    Two looks at the same samples must show the same, or the model could not be trained twice.

    Raises:
        SpecError: nothing of the model is trained; it fails on the samples, changes them, has another number of outputs
            than the data has classes, knows fewer ids, or gives something else than a tensor; it cannot be trained
            (see `_Training`); an output depends on the other samples of its batch.
    """
    _parameters_fit(net)
    _vocabulary_fits(net, federation)
    first_samples, tested = slice(_SAMPLES), federation.test_x[:_SAMPLES]
    restless = _evaluated(net, tested, federation.test_y[first_samples], federation.classes)
    training = _Training(net, federation.x[first_samples], federation.y[first_samples])
    first = training.look(0)
    if not training.look(0).equals(first):
        raise _not_twice("in training")
    counters = training.counters(first)
    examined = Net.of(net.module, net.loss, counters)
    return replace(examined, draws=first.drew or restless, redraws=first.redrew, restless=restless)


def first_line(fault: Exception) -> str:
    """What an exception says, in one line."""
    return (str(fault).splitlines() or [type(fault).__name__])[0]


def is_restless(outputs: Callable[[], Tensor], device: torch.device, where: str = "model") -> bool:
    """Whether `outputs` of a model in evaluation mode hold random numbers, though from generators that can be seeded.

    Raises:
        SpecError: they differ at a second look for another reason.
    """
    with torch.no_grad(), drawing(0, device):
        before = standing(device)
        first = outputs()
        drew = standing(device) != before
    with torch.no_grad(), drawing(0, device):
        if not _same(first, outputs()):
            raise _not_twice("in evaluation mode", where)
    return drew


def must_stand_still(net: Net, question: str) -> None:
    """Raise SpecError if the model draws random numbers in evaluation mode: `question` then has no answer."""
    if net.restless:
        raise restless(question)


def restless(question: str, where: str = "model") -> SpecError:
    """The error that says so."""
    return SpecError(
        f"the model draws random numbers in evaluation mode, too: {question} would change from look to look",
        where,
        "give F.dropout training=self.training, or use nn.Dropout",
    )


def _parameters_fit(net: Net) -> None:
    """Raise SpecError where nothing is trained, or something that is not real."""
    if not net.params:
        frozen = len(net.frozen)
        raise SpecError(
            f"all {frozen} parameters of the model are frozen" if frozen else "the model has no parameters",
            "model",
            "leave requires_grad on for what is to be trained" if frozen else "register weights as torch.nn.Parameter",
        )
    for slot in net.params:
        if not net.module.get_parameter(slot.name).is_floating_point():
            raise SpecError(
                f"parameter {slot.name} holds {net.module.get_parameter(slot.name).dtype}",
                "model",
                "train real parameters: two for a complex one (torch.view_as_complex)",
            )


def _vocabulary_fits(net: Net, federation: Federation) -> None:
    """Raise SpecError where a text holds an id that the model's embedding does not."""
    known = getattr(net.module, "vocabulary", None)
    if known is None or federation.x.is_floating_point():
        return
    highest = max(int(x.max()) for x in (federation.x, federation.test_x))
    if highest >= known:
        raise SpecError(
            f"the texts hold the id {highest}, but the model knows {known} ids (0 to {known - 1})",
            "model.vocabulary",
            "give the model the vocabulary of data.tokenizer (a trained one: data.vocabulary)",
        )


def _evaluated(net: Net, x: Tensor, y: Tensor, classes: int) -> bool:
    """Look at the model in evaluation mode; whether it draws random numbers there."""
    module, seen = clone(net.module).eval(), x.clone()
    try:
        with torch.no_grad(), drawing(0, x.device):
            together = module(seen)
    except Exception as fault:  # a module may be the user's own and raise anything
        raise SpecError(
            f"the model does not take inputs of shape {tuple(x.shape[1:])}: {first_line(fault)}",
            "model",
            "choose a model for this data, or other data",
        ) from fault
    if not torch.equal(seen.nan_to_num(), x.nan_to_num()):
        raise SpecError(
            "the model changes its inputs in place, so that a second look at them would see others",
            "model",
            "write x = x * 2 for x *= 2, and no inplace=True in the first layer",
        )
    _outputs_fit(together, len(x), classes)
    net.losses(together, y)
    restless = is_restless(lambda: module(x), x.device)
    if not restless and not _stands_alone(module, x, together):
        raise SpecError(
            "in evaluation mode the model's output for a sample depends on the others of its batch",
            "model",
            "use no batch statistics there (BatchNorm needs track_running_stats=True), or GroupNorm",
        )
    return restless


def _outputs_fit(outputs: Any, n: int, classes: int) -> None:
    """Raise SpecError where the outputs of n samples are no tensor [n, classes]."""
    if not isinstance(outputs, Tensor):
        raise SpecError(
            f"the model returns a {type(outputs).__name__}, not a tensor",
            "model",
            "return the logits alone (of a model of transformers: its output's .logits)",
        )
    if len(outputs.shape) < 1 or len(outputs) != n:
        raise SpecError(
            f"the model gives outputs of shape {tuple(outputs.shape)} for {n} samples",
            "model",
            "give a row of outputs a sample",
        )
    if outputs.shape[1:] != (classes,):
        raise SpecError(
            f"the model gives outputs of shape {tuple(outputs.shape[1:])} for {classes} classes",
            "model",
            "give the model one output a class",
        )


def _stands_alone(module: nn.Module, x: Tensor, together: Tensor) -> bool:
    """Whether the first sample's output is the same without the others."""
    try:
        with torch.no_grad():
            return _same(module(x[:1]), together[:1], 1e-3)
    except Exception:  # a lone sample has no variance, and a module of anyone's may say so in any way
        return False


@dataclass(frozen=True)
class _Look:
    """A pass in training: outputs, gradients, buffers afterwards, and whether numbers were drawn (on the way back)."""

    outputs: Tensor
    gradients: tuple[Tensor, ...]
    buffers: dict[str, Tensor]
    drew: bool
    redrew: bool

    def equals(self, other: _Look, besides: frozenset[str] = frozenset()) -> bool:
        """Whether another look shows the same, but for the buffers named in `besides`."""
        ours = [self.outputs, *self.gradients, *(b for n, b in self.buffers.items() if n not in besides)]
        theirs = [other.outputs, *other.gradients, *(b for n, b in other.buffers.items() if n not in besides)]
        return len(ours) == len(theirs) and all(_same(a, b) for a, b in zip(ours, theirs, strict=True))


class _Training:
    """A private copy of a model, which is looked at in training mode, always from the template's state."""

    def __init__(self, net: Net, x: Tensor, y: Tensor) -> None:
        self._net, self._x, self._y = net, x, y
        self._module = clone(net.module).train()
        self._start = {name: tensor.detach().clone() for name, tensor in _state(self._module).items()}

    def look(self, seed: int, counted: dict[str, Tensor] | None = None) -> _Look:
        """A forward and a backward pass that draw from `seed`; `counted`: integer buffers that begin elsewhere.

        Raises:
            SpecError: it fails, makes parameters as it goes, or changes frozen ones.
        """
        self._restore(counted or {})
        device, trained = self._x.device, [p for p in self._module.parameters() if p.requires_grad]
        try:
            with torch.enable_grad(), drawing(seed, device):
                before = standing(device)
                outputs = self._module(self._x.clone())
                drew = standing(device) != before
                loss = self._net.losses(outputs, self._y).mean()
                with Watch() as watch:
                    derivatives = torch.autograd.grad(loss, trained, allow_unused=True)
        except Exception as fault:  # a module may be the user's own and raise anything
            raise SpecError(
                f"the model cannot be trained: {first_line(fault)}",
                "model",
                "correct its forward pass in training mode",
            ) from fault
        self._keeps_its_parameters()
        buffers = {name: b.detach().clone() for name, b in self._module.named_buffers()}
        gradients = tuple(g for g in derivatives if g is not None)
        return _Look(outputs.detach(), gradients, buffers, drew or watch.drew, watch.drew)

    def counters(self, first: _Look) -> list[str]:
        """The integer buffers that a pass moves, if passes depend on them (BatchNorm's as a rule do not)."""
        moved = {
            name: buffer
            for name, buffer in first.buffers.items()
            if not buffer.is_floating_point() and not torch.equal(buffer, self._start[name])
        }
        if not moved or self.look(0, moved).equals(first, frozenset(moved)):
            return []
        return list(moved)

    def _restore(self, counted: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in _state(self._module).items():
                tensor.copy_(counted.get(name, self._start.get(name, tensor)))

    def _keeps_its_parameters(self) -> None:
        made = sorted(set(_state(self._module)) - set(self._start))
        if made:
            raise SpecError(
                f"the model makes {made[0]} in its forward pass",
                "model",
                "make parameters and buffers in __init__ (of unknown size: torch.nn.LazyLinear and the like)",
            )
        for name in self._net.frozen:
            if not torch.equal(self._module.get_parameter(name), self._start[name]):
                raise SpecError(
                    f"the model changes its frozen parameter {name} in its forward pass",
                    "model",
                    "register it as a buffer: those are averaged with the model",
                )


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _same(a: Tensor, b: Tensor, limit: float | None = None) -> bool:
    """Whether two tensors agree but for rounding; NaN agrees with NaN."""
    if a.shape != b.shape:
        return False
    if not (a.is_floating_point() or a.is_complex()):
        return torch.equal(a, b)
    limit = limit or torch.finfo(a.dtype).eps ** 0.5
    a, b = a.nan_to_num(), b.nan_to_num()
    return bool(((a - b).abs() <= limit * a.abs().max().clamp(min=1e-30)).all()) if a.numel() else True


def _not_twice(when: str, where: str = "model") -> SpecError:
    return SpecError(
        f"the model gives something else at a second look at the same samples {when}",
        where,
        "let it draw from the generators of torch, numpy or random, and keep what it remembers in buffers",
    )
