"""Jobs as the command line and the app start them, their configuration and their schedule."""
