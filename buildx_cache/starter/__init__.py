"""The first step of a repository's CI: look at the repository, choose CI and Dockerfile, render a template.

A CI is one row of :data:`RECIPES`, and has a template for each kind of cache in ``templates``. The repository is not
trusted: its names reach a template only where they mean nothing to any shell, YAML or CI.
"""

from buildx_cache.starter.recipes import RECIPES, CIName, Recipe, StepCache, recipe_of, render
from buildx_cache.starter.source import Source, check_cache, choose_ci, choose_source, registry_of, values_of
from buildx_cache.starter.survey import Findings, Remote, existing, parse_remote, survey

__all__ = [
    "RECIPES",
    "CIName",
    "Findings",
    "Recipe",
    "Remote",
    "Source",
    "StepCache",
    "check_cache",
    "choose_ci",
    "choose_source",
    "existing",
    "parse_remote",
    "recipe_of",
    "registry_of",
    "render",
    "survey",
    "values_of",
]
