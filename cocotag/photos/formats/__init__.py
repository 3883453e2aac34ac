"""The image formats: a table with a row for each, and their decoders."""
