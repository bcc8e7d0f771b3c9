"""Features of one image for estimators, pixel by pixel and from the definitions."""

from __future__ import annotations

import math

import numpy as np
from scipy.fft import dctn


def read_luminance(image: np.ndarray) -> np.ndarray:
    """Return the luminance, 0 to 1, of an image ``(S, S, 3)``."""
    return image.astype(float) / 255 @ np.array([0.299, 0.587, 0.114])


def low_frequencies(image: np.ndarray) -> np.ndarray:
    """Return 12 × 12 frequencies of the luminance, and 4 × 4 of two color differences."""
    luminance = read_luminance(image)
    planes = [luminance, image[..., 2] / 255 - luminance, image[..., 0] / 255 - luminance]
    parts = [
        dctn(plane, norm="ortho")[:count, :count].ravel()
        for plane, count in zip(planes, (12, 4, 4), strict=True)
    ]
    return np.concatenate(parts)


def edge_strengths(image: np.ndarray) -> np.ndarray:
    """Return the strength of edges in 8 directions and 8 × 8 cells."""
    luminance = read_luminance(image)
    size = len(luminance) - 2
    cells = np.zeros((8, 8, 8))
    for direction in range(8):
        angle = direction * math.pi / 4
        for row, column in np.ndindex(8, 8):
            values = []
            for y in range(row * size // 8, -(-(row + 1) * size // 8)):
                for x in range(column * size // 8, -(-(column + 1) * size // 8)):
                    across = luminance[y + 1, x + 2] - luminance[y + 1, x]
                    down = luminance[y + 2, x + 1] - luminance[y, x + 1]
                    values.append(max(across * math.cos(angle) + down * math.sin(angle), 0.0))
            cells[direction, row, column] = np.mean(values)
    relative = np.zeros_like(cells)
    for row, column in np.ndindex(8, 8):
        around = cells[:, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        energy = (around**2).sum(axis=0).mean()
        relative[:, row, column] = cells[:, row, column] / math.sqrt(energy + 1e-6)
    return relative.ravel()
