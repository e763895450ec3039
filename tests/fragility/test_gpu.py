"""A whole cell on CUDA ends in the numbers of the CPU, in float64; each test also runs CPU against CPU."""

import pytest
import torch

from experiments.core.sweep.cell import Context
from experiments.fragility.cells import compute
from tests.toys import fragility as tiny

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_CUDA])])
def test_estimates_and_truth(tmp_path, name):
    spec = tiny.spec(methods=["exact", "cg", {"kind": "lissa", "depth": 200, "batch_size": 30}, "ekfac"], norms=True,
                     damping=0.01, formulation="vmapped")  # fmt: skip
    found = []
    for folder, device in (("a", "cpu"), ("b", name)):
        (tmp_path / folder).mkdir()
        rows = compute(spec, "", 0, Context(tmp_path / folder, device=device))
        kept = [r for r in rows if r["metric"] in ("influence", "actual", "change_norm", "top_eigenvalue")]
        found.append({(r["method"], r["metric"], r["subject"]): r["value"] for r in kept})
    assert found[0].keys() == found[1].keys()
    assert len(found[0]) > 50
    for key, value in found[0].items():
        assert found[1][key] == pytest.approx(value, rel=1e-5, abs=1e-9), key
