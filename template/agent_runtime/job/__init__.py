"""What every job of a workflow run has: its context, and its part of the audit trail."""
