"""Evaluation of a bundle on labelled images: data frames, files, a page, comparisons. Does not import torch."""
