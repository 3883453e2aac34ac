"""Commands that tag files."""
