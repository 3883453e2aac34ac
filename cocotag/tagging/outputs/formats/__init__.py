"""The forms in which tags are written: one file each. `cocotag.tagging.outputs.write` chooses among them."""
