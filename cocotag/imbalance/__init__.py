"""The imbalance report of a data set: data frames, files and a page. Does not import torch."""
