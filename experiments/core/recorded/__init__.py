"""Rounds of a federated run recorded by any framework: their files, states and inputs, and how fedlab writes them."""
