"""The training run. Lightning runs the loop; these modules connect it to the data, the network and the export."""
