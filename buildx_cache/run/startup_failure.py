"""What is told of a call that fails before it has a plan: that it failed, so that no value of an earlier one stays."""

from __future__ import annotations

from datetime import UTC, datetime

from buildx_cache.caches import CacheKind
from buildx_cache.ci import CIContext
from buildx_cache.errors import BuildxCacheError
from buildx_cache.report import BuilderReport, BuildReport, CacheReport, CIReport, ImageReport
from buildx_cache.request import BuildRequest
from buildx_cache.run.execution import Outcome, status_of


def unbegun(request: BuildRequest, ci: CIContext, error: BuildxCacheError) -> Outcome:
    """The outcome of a call that ended with ``error`` while Docker was asked what is there."""
    kind = CacheKind.NONE if request.cache is CacheKind.AUTO else request.cache
    return Outcome(
        report=BuildReport(
            status=status_of(error),
            exit_code=error.exit_code,
            started=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            seconds=0.0,
            images={request.target or "default": ImageReport(platforms=request.platform)},
            builder=BuilderReport(name=request.builder, driver=request.driver or "", buildkit="", created=False),
            ci=CIReport(
                provider=ci.provider,
                branch=ci.branch,
                sha=ci.sha,
                pull_request=ci.pull_request,
                is_fork=ci.is_fork,
            ),
            cache=CacheReport(mode=kind, scope=request.cache_scope, read_only=bool(request.cache_read_only)),
            warnings=(error.message,),
        ),
        error=error,
    )
