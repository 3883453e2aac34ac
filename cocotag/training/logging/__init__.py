"""What a training run writes about itself: metrics.csv, curves.svg, run.json and loggers."""
