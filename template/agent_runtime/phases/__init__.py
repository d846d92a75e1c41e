"""The four phases of a run, one module each: investigate, approve, act, record.

Each phase is one process that reads its inputs, asks the pure modules what they mean, and writes its outputs.
"""
