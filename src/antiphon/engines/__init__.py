"""What runs a version of a model: one file or folder each; none knows another."""
