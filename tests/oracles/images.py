"""Images prepared one by one, as the published programs do it; and integers without an end."""

import numpy as np
from PIL import Image, ImageOps

WORD = (1 << 64) - 1


def over_white(pixels):
    """RGBA ``(H, W, 4)`` before a white wall."""
    colour, alpha = pixels[..., :3].astype(float), pixels[..., 3:].astype(float) / 255
    return colour * alpha + 255 * (1 - alpha)


def bilinear(pixels, size):
    """A triangle as wide as two pixels of the coarser grid, along rows and then along columns."""
    for axis in (1, 0):
        length = pixels.shape[axis]
        step = length / size
        wide = max(step, 1.0)
        lines = []
        for place in range(size):
            centre = (place + 0.5) * step
            weights = np.array([max(0.0, 1 - abs(k + 0.5 - centre) / wide) for k in range(length)])
            line = np.tensordot(weights / weights.sum(), pixels.astype(float), (0, axis))
            lines.append(np.floor(line + 0.5))
        pixels = np.stack(lines, axis)
    return pixels


def cropped(pixels, down, right, mirrored, pad):
    """One image ``(H, W, 3)``: a black border, a crop of the old size, a mirror."""
    height, width, _ = pixels.shape
    image = ImageOps.expand(Image.fromarray(np.ascontiguousarray(pixels)), border=pad, fill=0)
    image = image.crop((right, down, right + width, down + height))
    return np.asarray(ImageOps.mirror(image) if mirrored else image)


def recipe(pixels, draw, pad, mean, std):
    """The published training transform of one image, with chances of its own: ``(3, H, W)``."""
    down, right = draw.integers(0, 2 * pad + 1, 2)
    made = cropped(pixels, down, right, draw.random() < 0.5, pad)
    return normalised(made[None], mean, std)[0]


def normalised(images, mean, std):
    """Bytes ``(N, H, W, 3)`` to ``(N, 3, H, W)``: each colour its mean and deviation."""
    colours = [(images[..., c] / 255 - mean[c]) / std[c] for c in range(3)]
    return np.stack(colours, axis=1)


def splitmix64(state):
    """Steele, Lea and Flood (OOPSLA 2014): the output for a state."""
    z = (state + 0x9E3779B97F4A7C15) & WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


def draws(seed, epoch, index, pad):
    """Offsets down and right, and whether to mirror."""
    key = splitmix64((splitmix64(seed & WORD) + epoch) & WORD)
    bits = splitmix64(splitmix64((key + index) & WORD) ^ key)
    down, right = ((bits >> shift & 0xFFFFFF) * (2 * pad + 1) >> 24 for shift in (0, 24))
    return down, right, bool(bits >> 48 & 1)
