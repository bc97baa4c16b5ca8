"""Extensions of the configuration itself."""
