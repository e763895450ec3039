"""TraceFL: which client is responsible for this prediction? (Gill et al. 2025)."""
