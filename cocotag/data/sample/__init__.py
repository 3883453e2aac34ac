"""The drawn sample data set. No torch."""
