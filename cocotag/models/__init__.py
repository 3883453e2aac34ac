"""The networks: uint8 images -> logits. They do not depend on data sets, losses or the trainer."""
