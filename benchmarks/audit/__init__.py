"""The audit trail's benchmark: the SDK and the backend beside their peers, in one run."""
