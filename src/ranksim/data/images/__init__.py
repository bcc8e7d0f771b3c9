"""Images: tables, decoding, the pixel cache, data sets and augmentation."""
