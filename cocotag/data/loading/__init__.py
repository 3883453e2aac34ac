"""Tables and image files -> batches for training: the torch corner of the data room."""
