"""What is known of files that were tagged: one SQLite file, of which every output is made."""
