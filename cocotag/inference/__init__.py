"""Inference: images -> probabilities, with a bundle. Does not depend on folders, outputs, torch or pandas."""
