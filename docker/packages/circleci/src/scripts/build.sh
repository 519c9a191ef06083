#!/bin/sh
# Build with what the command's parameters say; those that may name variables have them filled in by CircleCI.
set -eu
BUILDX_CACHE_TAG=$(circleci env subst "$PARAM_TAG")
BUILDX_CACHE_BUILD_ARG=$(circleci env subst "$PARAM_BUILD_ARG")
mkdir -p "$PARAM_REPORT_DIR"
BUILDX_CACHE_REPORT=$PARAM_REPORT_DIR/report.json
BUILDX_CACHE_REPORT_HTML=$PARAM_REPORT_DIR/report.html
BUILDX_CACHE_REPORT_JUNIT=$PARAM_REPORT_DIR/steps.xml
export BUILDX_CACHE_TAG BUILDX_CACHE_BUILD_ARG BUILDX_CACHE_REPORT BUILDX_CACHE_REPORT_HTML BUILDX_CACHE_REPORT_JUNIT
context=$(circleci env subst "$PARAM_CONTEXT")
case $context in -?*) context=./$context ;; esac # a path, never an option
buildx-cache build "$context"
