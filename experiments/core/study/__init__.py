"""From a spec to what the engine runs: problems, the arithmetic they are computed with, prices, shared rows."""
