"""The image formats: a table with one row per format, and their decoders."""
