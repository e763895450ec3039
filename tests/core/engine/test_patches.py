"""Patches of images against torch's own unfold and fold."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from experiments.core.engine.patches import Grid
from tests.core.estimators.cases import normal

OPTIONS = [
    {"kernel_size": 3},
    {"kernel_size": (2, 5), "padding": (1, 3)},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (3, 2), "stride": (1, 3), "dilation": (2, 1)},
    {"kernel_size": 1, "stride": 2},
]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("options", OPTIONS)
def test_windows_are_copied_and_summed_as_torch_does(options, layout):
    layer = nn.Conv2d(3, 4, **options).double()
    x = normal(2, 3, 9, 8).contiguous(memory_format=layout)
    grid = Grid.of(layer, layer(x).shape[2:])
    unfolded = functional.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    assert torch.equal(grid.unfolded(x), unfolded)
    columns = normal(*unfolded.shape, seed=1)
    folded = functional.fold(columns, (9, 8), layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    found = grid.folded(columns.view(2, 3, *grid.kernel, *grid.places), 9, 8)
    torch.testing.assert_close(found, folded)
