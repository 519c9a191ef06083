"""Merge command line, environment and configuration file into one frozen request, and validate it.

Values are validated before anything has an effect. ``plan`` makes the decisions.
"""
