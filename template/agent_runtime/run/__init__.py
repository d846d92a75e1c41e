"""What runs team code: its results are data, and decide nothing."""
