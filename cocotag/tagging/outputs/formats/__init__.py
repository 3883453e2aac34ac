"""The file formats for tags, one module per format. `cocotag.tagging.outputs.write` has the table of them."""
