"""The shared simulation: many counterfactual worlds trained side by side. Knows no paper, no YAML, no dataset."""
