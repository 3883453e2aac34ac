"""Commands that measure and report."""
