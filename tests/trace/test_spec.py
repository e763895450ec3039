"""What a setting may not say."""

import pytest
from pydantic import ValidationError

from tests.toys.trace import spec


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"clients_per_round": 1}, "nobody else to be responsible"),
        ({"loss": "squared"}, "cross_entropy"),
        ({"methods": ["tracefl", "tracefl"]}, "one is named twice"),
        ({"methods": ["feddebug"]}, "give `faults`"),
        ({"methods": ["feddebug"], "faults": {"clients": [0]}}, "name another one beside it"),
        ({"methods": ["shapley"]}, "tracefl"),
        ({"faults": {"clients": [9], "to": 0}}, "unknown client '9'; clients are 0 to 7"),
        ({"faults": {"clients": [1, 1], "to": 0}}, "faults.clients: client '1' is named twice"),
        ({"faults": {"clients": [], "to": 0}}, "at least 1"),
        ({"methods": [{"kind": "tracefl", "decay": 0}]}, "greater than 0"),
        ({"methods": [{"kind": "tracefl", "bias": "some"}]}, "centred"),
        ({"methods": ["feddebug"], "grid": {"local.lr": [0.5]}}, "lr=0.5: methods: feddebug looks for faulty"),
        ({"grid": {"partition.alpha": [0.1, -1]}}, "alpha=-1"),
        ({"privacy": {"clip": 0, "noise": 1}}, "clip"),
    ],
)
def test_refused(more, told):
    with pytest.raises(ValidationError) as error:
        spec(**more)
    assert told in str(error.value)
