"""Which test points are taken."""

import numpy as np
import pytest

from experiments.core.errors import SpecError
from experiments.core.study.points import test_points

test_points.__test__ = False
LOSSES = np.array([0.5, 3.0, 0.1, 2.0, 0.2])


def test_test_points_by_loss_percentile_and_index():
    found = test_points(("max", "max2", "p50", "p50b", "p0", "i4"), LOSSES)
    assert found == {"max": 1, "max2": 3, "p50": 0, "p50b": 4, "p0": 2, "i4": 4}


@pytest.mark.parametrize("name", ["i5", "max6", "p50z"])
def test_a_test_point_outside_the_test_set_is_refused(name):
    with pytest.raises(SpecError, match="5 samples"):
        test_points((name,), LOSSES)
