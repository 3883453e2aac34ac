"""The training run. Lightning runs the loop; these rooms are the glue."""
