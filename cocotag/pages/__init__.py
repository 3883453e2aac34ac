"""Building blocks of the HTML pages: drawings, plots, number formats, the template environment. Does not depend on metrics."""
