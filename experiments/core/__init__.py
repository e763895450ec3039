"""The core that all papers share: engine, data, models, estimators, scores, spec, sweep, report."""
