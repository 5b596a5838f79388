"""A world with known truth: exports, agents and graders that behave like real ones, for demos and tests."""
