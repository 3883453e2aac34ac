"""The data set doctor: finds faults of a data set before hours of training are spent on it. No torch."""
