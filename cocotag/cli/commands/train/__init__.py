"""Commands about networks and training."""
