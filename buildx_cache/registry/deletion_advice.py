"""Advise how to delete tags in a registry that does not delete them through the distribution API."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from buildx_cache.reference import HUB_HOSTS


@dataclass(frozen=True, kw_only=True)
class RegistryService:
    """A registry service: its hosts as shell patterns, and its way to delete a tag."""

    name: str
    hosts: tuple[str, ...]
    advice: str
    untagged: str = ""
    """How to delete untagged manifests; empty if the service collects them as garbage."""


PROVIDERS: tuple[RegistryService, ...] = (
    RegistryService(
        name="Amazon ECR",
        hosts=("*.dkr.ecr.*.amazonaws.com", "*.dkr.ecr.*.amazonaws.com.cn", "*.dkr-ecr.*.on.aws", "public.ecr.aws"),
        advice="give the repository a lifecycle policy for the tag prefix buildcache-, "
        "or run `aws ecr batch-delete-image --image-ids imageTag=TAG`",
        untagged="a lifecycle policy for tagStatus untagged",
    ),
    RegistryService(
        name="Docker Hub",
        hosts=HUB_HOSTS,
        advice="delete the tag on hub.docker.com, or with Docker Hub's own API: "
        "DELETE https://hub.docker.com/v2/namespaces/NAMESPACE/repositories/REPOSITORY/tags/TAG",
    ),
    RegistryService(
        name="GitHub",
        hosts=("ghcr.io",),
        advice="delete the package version: `gh api --method DELETE "
        "/orgs/ORG/packages/container/NAME/versions/ID`, or the action actions/delete-package-versions",
        untagged="the action actions/delete-package-versions with delete-only-untagged-versions",
    ),
    RegistryService(
        name="Google Artifact Registry",
        hosts=("*-docker.pkg.dev", "gcr.io", "*.gcr.io"),
        advice="set a cleanup policy for the tag prefix buildcache-, "
        "or run `gcloud artifacts docker tags delete IMAGE:TAG`",
        untagged="a cleanup policy for tagState untagged",
    ),
    RegistryService(
        name="Azure Container Registry",
        hosts=("*.azurecr.io", "*.azurecr.cn", "*.azurecr.us"),
        advice="run `az acr repository untag` or a scheduled `acr purge --filter 'REPOSITORY:buildcache-.*' --ago 30d`",
        untagged="`acr purge --untagged`",
    ),
    RegistryService(
        name="Quay",
        hosts=("quay.io", "*.quay.io", "quay.*"),
        advice="let tags expire (label quay.expires-after, or an auto-prune policy), or delete the tag with Quay's "
        "own API: DELETE /api/v1/repository/REPOSITORY/tag/TAG",
    ),
    RegistryService(
        name="GitLab",
        hosts=("registry.gitlab.com", "registry.gitlab.*", "gitlab.*"),
        advice="set a container cleanup policy for buildcache-.*, or use GitLab's own API: "
        "DELETE /projects/ID/registry/repositories/ID/tags/TAG",
    ),
    RegistryService(
        name="Harbor",
        hosts=("harbor.*", "*.harbor.*"),
        advice="set a tag retention rule, or delete the tag with Harbor's own API: "
        "DELETE /api/v2.0/projects/PROJECT/repositories/REPOSITORY/artifacts/TAG/tags/TAG",
        untagged="garbage collection of untagged artifacts",
    ),
    RegistryService(
        name="Artifactory",
        hosts=("*.jfrog.io", "artifactory.*", "*.artifactory.*"),
        advice="set a cleanup policy, or delete the tag's folder: `jf rt delete REPOSITORY/IMAGE/TAG`",
    ),
    RegistryService(
        name="DigitalOcean",
        hosts=("registry.digitalocean.com",),
        advice="run `doctl registry repository delete-tag REPOSITORY TAG`",
    ),
    RegistryService(
        name="Oracle Cloud",
        hosts=("*.ocir.io", "ocir.*.oci.oraclecloud.com"),
        advice="set an image retention policy, or run `oci artifacts container image remove-version`",
    ),
    RegistryService(
        name="Scaleway",
        hosts=("rg.*.scw.cloud",),
        advice="delete the tag with `scw registry tag delete TAG-ID`",
    ),
)

OWN = "allow deletion in the registry (distribution: REGISTRY_STORAGE_DELETE_ENABLED=true), or use its own tools"


OWN_UNTAGGED = "the registry's own collection of garbage (distribution: `registry garbage-collect --delete-untagged`)"


def service_of(host: str) -> RegistryService | None:
    """Return the service that runs ``host`` (its port is ignored), or None if no pattern matches."""
    name = host.lower().partition(":")[0]
    return next((row for row in PROVIDERS if any(fnmatchcase(name, pattern) for pattern in row.hosts)), None)


def advice(host: str) -> str:
    """Return how to delete a tag if ``host`` refuses to delete through the API."""
    row = service_of(host)
    return row.advice if row else OWN


def advice_of_untagged(host: str) -> str:
    """Return how to delete untagged manifests in ``host``: a tag that is pushed again leaves its old manifest."""
    row = service_of(host)
    return (row.untagged if row else "") or OWN_UNTAGGED
