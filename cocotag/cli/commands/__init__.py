"""The commands, one file per command, in folders by job."""
