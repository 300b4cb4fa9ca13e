"""Files that are too large for a package of their own: fetched once, checked, and kept."""
