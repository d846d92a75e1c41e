"""Pages for people: rendered here, without scripts, from what the API gives out too."""
