"""HTTP: what can be asked, and how it is answered."""
