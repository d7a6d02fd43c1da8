"""Building blocks, one file each, and the named models assembled out of them."""
