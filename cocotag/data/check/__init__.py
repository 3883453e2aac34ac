"""The data set doctor: what is wrong with a data set, before hours are spent on it. No torch."""
