"""Rows of tags -> files: tables, and files beside the images."""
