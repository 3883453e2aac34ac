"""Image files: found in folders, decoded to RGB, brought to the network's square, asked for their keywords. No torch."""
