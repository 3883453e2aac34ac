"""Labels in other formats -> a data set in COCO's layout. No torch."""
