"""The first step of a repository's CI: look at the repository, choose CI and Dockerfile, fill in a template.

A CI is one row of ``recipes``, and has a template for each kind of cache in ``templates``. The repository is not
trusted: its names reach a template only where they mean nothing to any shell, YAML or CI.
"""
