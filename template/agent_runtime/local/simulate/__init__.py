"""The whole run locally: the same phases as in the workflow, in processes of their own, with a human at the terminal.

The phases don't know that they are simulated.  They speak to a small GitHub on the loopback interface through the same
client that they use in a workflow, so there is no switch in the gate that an attacker could find.
"""
