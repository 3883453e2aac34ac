"""Tagging of files with a bundle. Does not depend on torch or pandas."""
