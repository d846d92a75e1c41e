"""The edge to GitHub: what the runner gives to a job, what a job reports to the runner, and GitHub's API."""
