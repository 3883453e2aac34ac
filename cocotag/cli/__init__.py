"""The command line: it parses, calls and prints. No other part of the package imports it."""
