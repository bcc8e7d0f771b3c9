"""Statistics of results: intervals, comparisons, conclusions, diagnostics and reports."""
