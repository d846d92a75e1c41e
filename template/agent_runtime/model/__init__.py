"""Documents that jobs exchange, configuration, and the names that one part writes and another reads."""
