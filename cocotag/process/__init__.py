"""The process and its machine: cores, Ctrl-C, restarts."""
