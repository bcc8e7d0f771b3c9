"""Implementation for a CPU: float32 products, and exact ranks by sorting integers."""
