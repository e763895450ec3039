from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from experiments.core.data import kinds, partitions
from experiments.core.data.sklearn_digits import SklearnDigits, enlarge


def test_enlarged_digits_keep_ink_and_polarity():
    images = load_digits().images
    large = enlarge(images)
    assert large.shape == (1797, 1, 28, 28) and large.min() >= 0 and large.max() <= 1
    assert (large[:, 0, :4] == 1).all() and (large[:, 0, :, -4:] == 1).all()  # white margin
    ink = (1 - large).mean((1, 2, 3)) * 28**2 / 20**2
    assert np.corrcoef(ink, images.mean((1, 2)))[0, 1] > 0.99


def test_a_stand_in_for_every_setting_without_files():
    pool = SklearnDigits().load(0, None)
    assert pool.classes == 62 and pool.x.shape[1:] == (1, 28, 28) and pool.name == "sklearn_digits"
    assert len(pool.y) == 2 * 1617 and len(pool.test_y) == 2 * 180
    natural = partitions()["natural"]().split(pool, 0)
    assert len(natural.clients) == 100 and min(natural.sizes) >= 4
    iid = partitions()["iid"](clients=50, samples_per_client=50, test_samples=278).split(pool, 0)
    assert iid.sizes == (50,) * 50


def test_copies_move_the_ink_and_lose_none():
    one, two = SklearnDigits(copies=1).load(0, None), SklearnDigits(copies=2).load(0, None)
    n = len(one.y)
    assert torch.equal(two.x[:n], one.x) and torch.equal(two.y[n:], one.y)
    assert torch.allclose(two.x[n:].sum((1, 2, 3)), one.x.sum((1, 2, 3)), atol=1e-2)
    assert (two.x[n:] != one.x).any()


def test_no_kind_needs_torch_to_be_listed():
    import subprocess
    import sys

    code = (
        "import sys; from experiments.core import data, models; data.kinds(); data.partitions(); models.kinds();"
        "print(sorted({'torch', 'pandas', 'torchvision', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert {"leaf_synthetic", "leaf_json", "femnist", "mnist_by_writer", "sklearn_digits"} <= kinds().keys()
    assert {"image_npz", "image_folder", "csv", "idx"} <= kinds().keys()
    assert list(partitions()) == ["dirichlet", "dirichlet_balanced", "iid", "natural", "shards"]
