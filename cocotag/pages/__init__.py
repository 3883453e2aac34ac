"""What all HTML pages are made of: drawings, plots, formats of numbers, the template environment. Knows no metrics."""
