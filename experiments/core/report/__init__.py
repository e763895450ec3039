"""Tidy CSV -> tables, figures, comparison with the paper, and the page that lists them all. Reads nothing else."""
