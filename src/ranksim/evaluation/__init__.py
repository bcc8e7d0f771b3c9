"""Statistics over runs: confidence intervals, method comparisons, conclusions and reports."""
