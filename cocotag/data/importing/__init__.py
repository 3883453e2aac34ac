"""Labels in other forms -> a data set in COCO's layout. No torch."""
