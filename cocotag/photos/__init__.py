"""Image files: find them in folders, decode them to RGB, resize them to the network's input, read their keywords. No torch."""
