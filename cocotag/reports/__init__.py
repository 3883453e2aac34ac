"""How good is this tagger, and how unbalanced are these data: for machines and for people."""
