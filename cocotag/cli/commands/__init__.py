"""The commands, one file each, in folders by job."""
