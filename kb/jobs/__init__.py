"""Background jobs of the app, and uploaded files."""
