"""Tables and image files -> batches for training. This is the only package of `cocotag.data` that uses torch."""
