"""Which tables hold results: by month and model, and over all of them."""

BY_CELL = ("attempt_outcomes", "completion_rates")
SUMMARIES = ("leaderboard", "category_rates", "feedback_lift", "dataset_overview")
