"""The Python interface: inspect, compare and fit on data frames, arrays and files."""
