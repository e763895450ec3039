"""What several methods compute with: curvature, influence functions, contributions to a logit; closed forms."""
