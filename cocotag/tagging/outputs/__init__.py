"""Rows of tags -> output files: tables, and files beside the images."""
