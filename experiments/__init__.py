"""Everything that computes: one folder per paper, and the core they share."""

OWNER = "fedlab-influence"
