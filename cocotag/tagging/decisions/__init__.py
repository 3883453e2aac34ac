"""Scores -> rows of tags: thresholds, the number of tags, other names. Knows no network and no files."""
