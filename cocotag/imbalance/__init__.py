"""Annotation tables -> how unbalanced a data set is: frames, files, a page. No torch."""
