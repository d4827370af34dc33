"""What a library learns from its user: judgements of answers, and fusion heads trained on them."""
