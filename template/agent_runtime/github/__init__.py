"""The edge to GitHub: what the runner tells a job, what a job tells the runner, and GitHub's API."""
