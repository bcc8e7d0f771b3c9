"""Image data: split tables, decoding, a cache of decoded pixels, data sets and augmentation."""
