"""XMP packets as text: their keyword fields, cocotag's notes, and what is whose. Does not read or write files."""
