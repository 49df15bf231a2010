"""Writes the results and events of a fleet from the broker into PostgreSQL, each exactly once. README.md explains it.

A program for a server: it imports nothing of the daemon, and has its own requirements.txt.
"""
