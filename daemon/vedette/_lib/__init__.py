"""Mechanisms without product words: threads, processes, durable files, clocks."""
