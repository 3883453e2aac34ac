"""Rows of tags from scores: thresholds, number of tags, names. Does not depend on a network or on files."""
