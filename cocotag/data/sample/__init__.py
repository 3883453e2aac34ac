"""The sample data set, drawn by code. No torch."""
