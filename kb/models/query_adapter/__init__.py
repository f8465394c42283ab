"""The query side of the default encoder, trained apart: questions are brought near to the papers that answer them.

The vectors of papers stay what they are, so that nothing has to be embedded anew. See MODEL_CARD.md.
"""
