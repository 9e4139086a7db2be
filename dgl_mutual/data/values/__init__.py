"""What a dataset is made of: features, edges, labels and splits, and how values that users give become them."""
