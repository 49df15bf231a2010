"""The shape of every JSON message a device writes to the broker.

Invariants: each message carries its schema id; within one schema version keys are only ever added, so
consumers ignore the ones they do not know; units are in the names; times are ISO 8601 UTC with milliseconds
and a Z. docs/schemas and docs/asyncapi.json are written from these types and from the sentence below each key.
"""
