"""The pages that people read in a run's summary or in an issue, by reader."""
