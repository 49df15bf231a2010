"""The update decisions: what a device does with a new model, step by step, in the `update` thread.

Invariants: rules (accept or raise) are in `update.rules` and `update.verdicts`, wire in `update.source`; here is what a
failure means. Every step is durable before it takes effect, so that a restart goes on from there.
"""
