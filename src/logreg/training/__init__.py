"""`BinaryClassifier`, and `train()`: objects in, a record out. Knows no configuration."""
