"""Bundle and labelled images -> how good the bundle is: frames, files, a page, comparisons. No torch."""
