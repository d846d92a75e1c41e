"""What runs on a person's machine: simulate, check, doctor, setup, report."""
