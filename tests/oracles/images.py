"""Reference image operations, one image at a time as in the published programs."""

import numpy as np
from PIL import Image, ImageOps

WORD = (1 << 64) - 1


def over_white(pixels):
    """Blend RGBA ``(H, W, 4)`` with white."""
    color, alpha = pixels[..., :3].astype(float), pixels[..., 3:].astype(float) / 255
    return color * alpha + 255 * (1 - alpha)


def bilinear(pixels, size):
    """Resize with a triangle two pixels wide on the coarser grid, along rows, then columns."""
    for axis in (1, 0):
        length = pixels.shape[axis]
        step = length / size
        width = max(step, 1.0)
        lines = []
        for position in range(size):
            center = (position + 0.5) * step
            weights = np.array([max(0.0, 1 - abs(k + 0.5 - center) / width) for k in range(length)])
            line = np.tensordot(weights / weights.sum(), pixels.astype(float), (0, axis))
            lines.append(np.floor(line + 0.5))
        pixels = np.stack(lines, axis)
    return pixels


def crop(pixels, top, left, flipped, pad):
    """Pad one image ``(H, W, 3)`` with black, crop it to its old size, and flip it."""
    height, width, _ = pixels.shape
    image = ImageOps.expand(Image.fromarray(np.ascontiguousarray(pixels)), border=pad, fill=0)
    image = image.crop((left, top, left + width, top + height))
    return np.asarray(ImageOps.mirror(image) if flipped else image)


def augment(pixels, draw, pad, mean, std):
    """Apply the published training transform to one image: ``(3, H, W)``."""
    top, left = draw.integers(0, 2 * pad + 1, 2)
    cropped = crop(pixels, top, left, draw.random() < 0.5, pad)
    return normalize(cropped[None], mean, std)[0]


def normalize(images, mean, std):
    """Convert bytes ``(N, H, W, 3)`` to ``(N, 3, H, W)``, standardized per channel."""
    channels = [(images[..., c] / 255 - mean[c]) / std[c] for c in range(3)]
    return np.stack(channels, axis=1)


def splitmix64(state):
    """Return the output for a state (Steele, Lea and Flood, OOPSLA 2014)."""
    z = (state + 0x9E3779B97F4A7C15) & WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


def draws(seed, epoch, index, pad):
    """Return offsets from top and left, and whether to flip."""
    key = splitmix64((splitmix64(seed & WORD) + epoch) & WORD)
    bits = splitmix64(splitmix64((key + index) & WORD) ^ key)
    top, left = ((bits >> shift & 0xFFFFFF) * (2 * pad + 1) >> 24 for shift in (0, 24))
    return top, left, bool(bits >> 48 & 1)
