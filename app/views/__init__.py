"""One module a page, each with a function `show` that draws it."""
