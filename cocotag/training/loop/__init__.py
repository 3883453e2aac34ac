"""What happens within the epochs of a run: network, loss, rates and layers of a stage, interruption."""
