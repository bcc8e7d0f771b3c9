"""From a table of the user to samples: selection, split, label report, encoding of columns."""
