"""Federated averaging (McMahan et al. 2017): the mean of the local models, weighted by samples."""

from __future__ import annotations

from experiments.core.engine.algorithms.base import Algorithm


class FedAvg(Algorithm):
    """w_t = sum_k n_k / N(C_t) w_k (Eq. 3 of Xue et al. 2021)."""

    name = "fedavg"
