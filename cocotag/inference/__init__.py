"""Bundle and images in, probabilities out. Knows no folders and no outputs; runs without torch and pandas."""
