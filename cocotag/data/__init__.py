"""Annotation files, image files and samples: everything between the disk and a batch."""
