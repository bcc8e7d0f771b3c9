"""Images with a real label: tables, benchmarks, splits and what prepares them."""
