"""Commands that run in the background for the app, and the files uploaded to them."""
