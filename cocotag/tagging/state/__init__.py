"""The state: results of tagged files, cached in one SQLite file. All outputs are written from it."""
