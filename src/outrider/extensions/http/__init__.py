"""Extensions of the HTTP layer that are no filters."""
