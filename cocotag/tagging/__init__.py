"""Bundle and files in, tags out. Runs without torch and without pandas."""
