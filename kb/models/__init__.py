"""Trained models, and the registry that loads encoders by name."""
