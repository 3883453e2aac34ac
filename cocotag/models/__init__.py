"""The networks: uint8 images in, logits out. They know no data set, no loss and no trainer."""
