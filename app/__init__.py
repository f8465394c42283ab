"""The pages: they show what the library finds, and hold no logic of their own beyond that."""
