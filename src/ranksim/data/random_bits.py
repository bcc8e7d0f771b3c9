"""Random bits as a hash, so that draws depend on their position alone."""

from torch import Tensor

_SPLITMIX64 = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def splitmix64(bits: Tensor) -> Tensor:
    """Hash each int64 element with SplitMix64 (multiplication wraps around)."""
    first, second, third = (constant - (1 << 64) for constant in _SPLITMIX64)
    bits = bits + first
    bits = (bits ^ _shift_right(bits, 30)) * second
    bits = (bits ^ _shift_right(bits, 27)) * third
    return bits ^ _shift_right(bits, 31)


def _shift_right(bits: Tensor, count: int) -> Tensor:
    """Shift bits right and fill with zeros (the shift of torch fills with the sign bit)."""
    return (bits >> count) & ((1 << (64 - count)) - 1)
