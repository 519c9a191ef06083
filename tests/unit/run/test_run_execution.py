from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from buildx_cache.buildkit.events import VertexEvent
from buildx_cache.errors import (
    BuildFailedError,
    BuildxCacheError,
    CacheError,
    DeniedError,
    EngineError,
    ExhaustedError,
    InterruptedBuildError,
    UnreachableError,
)
from buildx_cache.plan import BuildPlan, Facts, ImageStore
from buildx_cache.plan.render import command_line
from tests.unit.run.calls import (
    APP,
    BROKEN,
    CURRENT,
    DIGEST,
    EXIT_2,
    FACTS,
    FLEET,
    MADE,
    SHA,
    STOPPED_OWN,
    TLS,
    Ended,
    FakeEngine,
    done,
    planned,
    said,
    told,
    vertex,
)

# --- the order of effects ----------------------------------------------------------------------------------


def test_everything_in_its_order() -> None:
    plan = planned(
        TLS,
        tag=[APP],
        push=True,
        username="me",
        password_env="P",  # noqa: S106 -- a variable's name
        rm_builder=True,
    )
    engine = FakeEngine()
    outcome, display = done(plan, engine)
    assert outcome.error is None
    assert engine.order == [
        "run context create",
        "credentials",
        "run login",
        "run create",
        "build",
        "forgotten",
        "run rm",
        "run context rm",
    ]
    assert [act for act, _ in engine.acts if act.startswith("run <")] == ["run <hunter2"]
    assert display.said == [
        f"builder: {plan.builder.name} (docker-container): made for this project: --driver docker-container",
        "cache: none, scope main: --cache none",
    ]


def test_what_runs_is_what_was_planned() -> None:
    plan = planned(
        tag=[APP], push=True, prune=True, build_arg=["NPM_TOKEN=abc123", "URL=https://me:abc123@example.com"]
    )
    engine = FakeEngine()
    outcome, display = done(plan, engine)
    assert list(outcome.report.commands) == [command_line(plan, step) for _, step in plan.phases()]
    assert len(display.commands) == 3
    assert "abc123" not in repr(outcome.report) + repr(display.commands)


def test_a_builder_that_is_there_is_used_as_it_is() -> None:
    engine = FakeEngine()
    done(planned(replace(FACTS, builder=CURRENT)), engine)
    assert engine.order == ["build"]


def test_a_stopped_builder_is_booted() -> None:
    engine = FakeEngine()
    done(planned(STOPPED_OWN), engine)
    assert engine.order == ["run inspect", "build"]


def test_pruning_comes_after_the_login_is_forgotten() -> None:
    engine = FakeEngine()
    done(planned(tag=[APP], push=True, prune=True, username="me", password_env="P"), engine)  # noqa: S106 -- same
    assert engine.order == ["credentials", "run login", "run create", "build", "forgotten", "run prune"]


CONFIG = f"sha256:{'cd' * 32}"

# --- results -----------------------------------------------------------------------------------------------


def test_every_pushed_tag_is_a_result_with_its_digest() -> None:
    outcome, _ = done(planned(tag=[APP, "org/app:2"], push=True), FakeEngine())
    assert outcome.results == (f"{APP}@{DIGEST}", f"org/app:2@{DIGEST}")
    assert (outcome.report.images["default"].digest, outcome.report.images["default"].pushed) == (DIGEST, True)


def test_an_image_that_is_only_loaded_is_a_result_by_its_id() -> None:
    outcome, _ = done(planned(tag=["app"], load=True), FakeEngine(images=["sha256:new"]))
    assert outcome.results == ("sha256:new",)
    assert (outcome.report.images["default"].loaded, outcome.report.images["default"].pushed) == (True, False)


@pytest.mark.parametrize(
    ("store", "identifier"),
    [(ImageStore.CLASSIC, CONFIG), (ImageStore.CONTAINERD, DIGEST)],
    ids=["classic", "containerd"],
)
@pytest.mark.parametrize("tags", [{}, {"tag": ["app"]}], ids=["unnamed", "named"])
def test_a_loaded_image_is_known_by_the_metadata(
    store: ImageStore, identifier: str, tags: Mapping[str, object]
) -> None:
    engine = FakeEngine(metadata={"containerimage.config.digest": CONFIG, "containerimage.digest": DIGEST})
    outcome, _ = done(planned(replace(FACTS, store=store), load=True, **tags), engine)
    assert outcome.results == (identifier,)
    assert engine.acts[-1] == ("loaded", identifier)


def test_what_is_told_of_several_results_is_not_taken_for_the_loaded_image() -> None:
    engine = FakeEngine(images=["sha256:new"])
    done(
        planned(replace(FACTS, store=ImageStore.CONTAINERD), tag=["app"], load=True, output=["type=cacheonly"]), engine
    )
    assert engine.acts[-1] == ("loaded", "sha256:new")


def test_an_image_pushed_and_loaded_is_a_result_by_its_tags() -> None:
    outcome, _ = done(planned(tag=[APP], push=True, load=True), FakeEngine(images=["sha256:new"]))
    assert outcome.results == (f"{APP}@{DIGEST}",)


def test_without_push_or_load_there_is_no_result() -> None:
    outcome, _ = done(planned(tag=["app"]), FakeEngine())
    assert outcome.results == ()


def test_metadata_goes_where_the_user_wants_it(tmp_path: Path) -> None:
    file = tmp_path / "metadata.json"
    outcome, _ = done(planned(tag=[APP], push=True, metadata_file=str(file)), FakeEngine())
    assert json.loads(file.read_text()) == {"containerimage.digest": DIGEST}
    assert outcome.results == (f"{APP}@{DIGEST}",)


@pytest.mark.parametrize(
    "digest", ["", 7, None, {}, "x", "sha256:ab", f"{DIGEST}\n::add-path::/x", f" {DIGEST}", f"sha512:{'ab' * 64}"]
)
def test_what_is_no_digest_goes_nowhere(digest: object) -> None:
    metadata = {"containerimage.digest": digest, "containerimage.config.digest": digest}
    pushed, _ = done(planned(tag=[APP], push=True), FakeEngine(metadata=metadata))
    assert (pushed.results, pushed.report.images["default"].digest) == ((APP,), "")
    loaded, _ = done(planned(tag=["app"], load=True), FakeEngine(metadata=metadata, images=["sha256:new"]))
    assert (loaded.results, loaded.report.images["default"].digest) == (("sha256:new",), "")


@pytest.mark.parametrize("metadata", ["", "{", "[]", "[" * 100_000])
def test_broken_metadata_does_not_stop_a_build(metadata: str) -> None:
    outcome, _ = done(planned(tag=["app"]), FakeEngine(metadata=metadata))
    assert outcome.error is None
    assert outcome.report.images["default"].digest == ""


def test_a_replaced_image_is_removed_where_pruning_is_on() -> None:
    engine = FakeEngine(images=["sha256:old", "sha256:new"])
    done(planned(tag=["app"], load=True, prune=True), engine)
    assert engine.acts[-3:-1] == [("loaded", "sha256:new"), ("remove_replaced", "sha256:old")]


@pytest.mark.parametrize(
    ("images", "prune"),
    [(["sha256:same", "sha256:same"], True), (["", "sha256:new"], True), (["sha256:new"], False)],
    ids=["unchanged", "first", "no-prune"],
)
def test_no_other_image_is_removed(images: list[str], prune: bool) -> None:  # noqa: FBT001 -- a table
    engine = FakeEngine(images=images)
    done(planned(tag=["app"], load=True, prune=prune), engine)
    assert "remove_replaced" not in engine.order


# --- what fails --------------------------------------------------------------------------------------------

LOOK = "look at it with `docker buildx inspect NAME`; `docker buildx rm NAME` has it made anew"
LOGIN = "the login to registry.example.com"
NOT_MADE = "the builder {} could not be made or does not boot"
IMAGE = "check --buildkit-image and that the engine can pull it; behind a mirror, name the image there"


@pytest.mark.parametrize(
    ("facts", "word", "stderr", "message", "hint"),
    [
        pytest.param(
            TLS, "context create", "ERROR: odd", "the Docker context could not be made: odd", LOOK, id="context"
        ),
        pytest.param(FACTS, "buildx create", "x\nERROR: no space\n\n", f"{NOT_MADE}: no space", LOOK, id="create"),
        pytest.param(FACTS, "buildx create", "manifest unknown", f"{NOT_MADE}: manifest unknown", IMAGE, id="image"),
        pytest.param(STOPPED_OWN, "inspect", "", "the builder {} does not boot: no reason given", LOOK, id="boot"),
    ],
)
def test_a_builder_that_fails_ends_the_call(facts: Facts, word: str, stderr: str, message: str, hint: str) -> None:
    plan = planned(facts)
    engine = FakeEngine(ends={word: Ended(code=1, stderr=stderr)})
    outcome, _ = done(plan, engine)
    assert told(outcome.error) == (EngineError, message.format(repr(plan.builder.name)), hint)
    assert "build" not in engine.order
    assert (outcome.report.status, outcome.report.exit_code, outcome.results) == ("failed", 3, ())


def test_nothing_is_left_of_a_builder_that_could_not_be_made() -> None:
    engine = FakeEngine(ends={"buildx create": Ended(code=1, stderr="x")})
    done(planned(TLS), engine)
    assert engine.order == ["run context create", "run create", "run rm", "run context rm"]


def test_a_builder_that_another_call_has_just_made_is_used() -> None:
    exists = 'ERROR: existing instance for "buildx-cache-app" but no append mode, specify the node name'
    engine = FakeEngine(ends={"buildx create": Ended(code=1, stderr=exists)})
    outcome, _ = done(planned(), engine)
    assert outcome.error is None
    assert engine.order == ["run create", "build"]


def test_a_builder_of_an_earlier_call_survives_a_failed_boot() -> None:
    engine = FakeEngine(ends={"inspect": Ended(code=1, stderr="x")})
    done(planned(STOPPED_OWN), engine)
    assert engine.order == ["run inspect"]


@pytest.mark.parametrize(
    ("stderr", "kind", "message", "hint", "tries"),
    [
        (
            "Error response from daemon: Get https://registry.example.com/v2/: unauthorized",
            DeniedError,
            f"{LOGIN} was refused: Error response from daemon: Get https://registry.example.com/v2/: unauthorized",
            "check --username and the password",
            1,
        ),
        (
            "dial tcp: lookup registry.example.com: no such host",
            UnreachableError,
            f"{LOGIN} failed: dial tcp: lookup registry.example.com: no such host",
            "check the registry's address and the network",
            1,
        ),
        (
            "dial tcp: lookup registry.example.com: server misbehaving",
            UnreachableError,
            f"{LOGIN} failed: dial tcp: lookup registry.example.com: server misbehaving",
            "check the registry's address and the network",
            4,
        ),
    ],
    ids=["refused", "no-such-host", "unreachable"],
)
def test_a_login_that_fails_ends_the_call(
    stderr: str, kind: type[BuildxCacheError], message: str, hint: str, tries: int
) -> None:
    plan = planned(tag=[APP], push=True, username="me", password_env="P", rm_builder=True, prune=True)  # noqa: S106 -- same
    engine = FakeEngine(ends={"login": Ended(code=1, stderr=stderr)})
    outcome, _ = done(plan, engine)
    assert told(outcome.error) == (kind, message, hint)
    assert engine.order == ["credentials", *["run login"] * tries, "forgotten"]
    assert "hunter2" not in repr(outcome)


def test_a_login_to_the_default_registry_is_called_so() -> None:
    plan = planned(tag=["org/app"], push=True, username="me", password_env="P")  # noqa: S106 -- same
    outcome, _ = done(plan, FakeEngine(ends={"login": Ended(code=1, stderr="denied")}))
    assert told(outcome.error)[1] == "the login to the default registry was refused: denied"


def from_the_environment(**asked: object) -> BuildPlan:
    """Plan a build with the login of ``DOCKER_LOGIN``."""
    plan = planned(tag=[APP], push=True, username="me", password_env="P", **asked)  # noqa: S106 -- same
    assert plan.login is not None
    return replace(plan, login=replace(plan.login, is_ambient=True))


@pytest.mark.parametrize("stderr", ["denied: incorrect", "dial tcp: lookup registry.example.com: no such host"])
def test_a_login_of_the_environment_that_fails_leaves_the_stored_one(stderr: str) -> None:
    engine = FakeEngine(ends={"login": Ended(code=1, stderr=stderr)}, stored=True)
    outcome, display = done(from_the_environment(), engine)
    assert outcome.error is None
    order = [act for act in engine.order if act not in ("run create", "run login")]
    assert order == ["credentials", "forgotten", "has_login", "build"]
    assert [text for text in display.warned if LOGIN in text] == [
        text for text in outcome.report.warnings if LOGIN in text
    ]
    assert sum(LOGIN in text for text in display.warned) == 1
    assert "hunter2" not in repr(outcome)


def test_a_login_of_the_environment_that_fails_ends_the_call_where_none_is_stored() -> None:
    engine = FakeEngine(ends={"login": Ended(code=1, stderr="denied: incorrect")})
    outcome, _ = done(from_the_environment(), engine)
    assert isinstance(outcome.error, DeniedError)
    assert engine.order == ["credentials", "run login", "forgotten", "has_login"]


def test_a_login_that_was_given_and_fails_ends_the_call_whatever_is_stored() -> None:
    plan = planned(tag=[APP], push=True, username="me", password_env="P")  # noqa: S106 -- same
    engine = FakeEngine(ends={"login": Ended(code=1, stderr="denied: incorrect")}, stored=True)
    outcome, _ = done(plan, engine)
    assert isinstance(outcome.error, DeniedError)
    assert outcome.report.exit_code == 4
    assert "build" not in engine.order


def test_a_build_that_fails_ends_the_call() -> None:
    plan = planned(tag=[APP], push=True, username="me", password_env="P", rm_builder=True, prune=True)  # noqa: S106 -- same
    engine = FakeEngine(builds=[(BROKEN, 1)])
    outcome, _ = done(plan, engine)
    assert told(outcome.error) == (
        BuildFailedError,
        "[build] RUN make: exit code: 2",
        "the end of its log is below; nothing was pushed",
    )
    assert engine.order == ["credentials", "run login", "run create", "build", "forgotten", "run rm"]
    assert outcome.trace is not None
    assert outcome.trace.failed is not None
    assert (outcome.results, outcome.report.images["default"].pushed, outcome.report.images["default"].digest) == (
        (),
        False,
        "",
    )
    assert outcome.report.steps[0].error == EXIT_2


@pytest.mark.parametrize(
    ("asked", "word", "warning"),
    [
        ({"prune": True}, "prune", "the builder's cache could not be pruned: context deadline exceeded"),
        ({"rm_builder": True}, "rm", "the builder could not be removed: context deadline exceeded"),
    ],
    ids=["prune", "remove"],
)
def test_what_comes_after_the_build_only_warns(asked: dict[str, object], word: str, warning: str) -> None:
    engine = FakeEngine(ends={f"buildx {word}": Ended(code=1, stderr="ERROR: context deadline exceeded\n")})
    outcome, display = done(planned(tag=[APP], push=True, **asked), engine)
    assert outcome.error is None
    assert outcome.results == (f"{APP}@{DIGEST}",)
    assert (outcome.report.warnings, display.warned) == ((warning,), [warning])


_MADE = ("credentials", "run login", "run create")


@pytest.mark.parametrize(
    ("where", "order", "code"),
    [
        ("login", ["credentials", "run login", "forgotten"], 130),
        ("create", [*_MADE, "run rm", "forgotten"], 130),
        ("build", [*_MADE, "build", "forgotten", "run container kill", "run rm"], 143),
        ("rm", [*_MADE, "build", "forgotten", "run rm", "run rm", "run container rm", "run volume rm"], 130),
    ],
)
def test_an_interrupted_call_cleans_up(where: str, order: list[str], code: int) -> None:
    plan = planned(tag=[APP], push=True, username="me", password_env="P", rm_builder=True)  # noqa: S106 -- same
    engine = FakeEngine(interrupt=where)
    outcome, _ = done(plan, engine)
    assert isinstance(outcome.error, InterruptedBuildError)
    assert engine.order == order
    assert (outcome.report.status, outcome.report.exit_code, outcome.results) == ("interrupted", code, ())


def test_what_was_running_is_told_of_an_interrupted_build() -> None:
    running = {"digest": "sha256:p", "name": "exporting to image", "started": "2025-11-24T04:30:00Z"}
    ended = FakeEngine(builds=[(MADE, 0)], interrupt="build")
    going = FakeEngine(builds=[(MADE + said(running), 0)], interrupt="build")
    words = [outcome.error.message for engine in (ended, going) if (outcome := done(planned(), engine)[0]).error]
    assert words == [
        "stopped by SIGTERM, during: build",
        "stopped by SIGTERM, during: exporting to image",
    ]


def test_the_steps_of_an_interrupted_build_are_reported() -> None:
    outcome, display = done(planned(tag=[APP], push=True), FakeEngine(interrupt="build"))
    assert "stopping the build" in display.said
    assert [step.name for step in outcome.report.steps] == ["FROM scratch", "RUN make"]


def test_a_cache_folder_that_cannot_be_made_ends_the_call_before_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    engine = FakeEngine()
    outcome, _ = done(planned(cache="local", cache_dir=str(tmp_path / "file" / "cache")), engine)
    assert told(outcome.error) == (
        ExhaustedError,
        f"the cache folder {tmp_path}/file/cache cannot be locked: Not a directory",
        "make it a folder that this user can write, or choose another folder with --cache-dir",
    )
    assert engine.acts == []


def test_a_cache_folder_is_made(tmp_path: Path) -> None:
    done(planned(cache="local", cache_dir=str(tmp_path / "a" / "b")), FakeEngine())
    assert (tmp_path / "a" / "b").is_dir()


def test_a_cache_folder_that_is_only_read_is_not_made(tmp_path: Path) -> None:
    done(planned(cache="local", cache_dir=str(tmp_path / "a"), cache_read_only=True), FakeEngine())
    assert not (tmp_path / "a").exists()


# --- caches by platform ------------------------------------------------------------------------------------

EXPORTED = said(vertex("exporting cache to registry"))
NOT_EXPORTED = said(vertex("exporting cache to registry", error="401 Unauthorized"))


def fleet_plan(**asked: object) -> BuildPlan:
    return planned(
        replace(FACTS, builder=FLEET),
        cache="registry",
        tag=[APP],
        push=True,
        platform=["linux/amd64", "linux/arm64"],
        **asked,
    )


def test_the_caches_of_several_nodes_are_written_one_after_another() -> None:
    engine = FakeEngine(builds=[(MADE, 0), (EXPORTED, 0), (EXPORTED, 0)])
    outcome, _ = done(fleet_plan(), engine)
    assert engine.order == ["build"] * 3
    assert [export.status for export in outcome.report.cache.exports] == ["written", "written"]
    assert outcome.report.cache.steps.total == 2
    assert outcome.report.warnings == ()


LOG_IN = "log in with --username and --password-env, or `docker login`; check that the account may do this"
LINUX_AMD64 = "registry.example.com/app:buildcache-main-linux-amd64"


@pytest.mark.parametrize(
    ("builds", "reason", "hint"),
    [
        pytest.param(
            [(said(vertex("exporting cache to registry", error="x: 500 Internal Server Error")), 0)] * 3,
            "unreachable: x: 500 Internal Server Error",
            "try again later, or ask the server's operators: it has a fault or is overloaded",
            id="ignored-by-buildkit",
        ),
        pytest.param([(b"ERROR: it broke\n", 1)], "other: it broke", "the next build tries again", id="failed"),
    ],
)
def test_one_node_that_cannot_write_its_cache_only_warns(
    builds: list[tuple[bytes, int]], reason: str, hint: str
) -> None:
    outcome, display = done(fleet_plan(), FakeEngine(builds=[(MADE, 0), *builds, (EXPORTED, 0)]))
    assert outcome.error is None
    assert outcome.results == (f"{APP}@{DIGEST}",)
    assert display.warned == [f"the cache could not be written to {LINUX_AMD64}: {reason}; {hint}"]
    assert [(each.status, each.detail) for each in outcome.report.cache.exports] == [
        ("failed", reason),
        ("written", ""),
    ]


def test_a_repository_that_one_node_may_not_write_is_not_tried_by_the_next() -> None:
    engine = FakeEngine(builds=[(MADE, 0), (NOT_EXPORTED, 0)])
    outcome, display = done(fleet_plan(), engine)
    assert outcome.error is None
    assert engine.order == ["build", "build"]
    assert display.warned == [f"the cache could not be written to {LINUX_AMD64}: denied: 401 Unauthorized; {LOG_IN}"]
    assert [(each.status, each.detail) for each in outcome.report.cache.exports] == [
        ("failed", "denied: 401 Unauthorized"),
        ("skipped", "writing there was denied before"),
    ]


@pytest.mark.parametrize(
    ("cache_to", "left"),
    [(f"type=registry,ref={APP}-by-hand", 0), ("type=registry,ref=registry.example.com/other:c", 2)],
    ids=["the-same-repository", "another"],
)
def test_an_export_of_the_image_that_is_denied_spares_those_of_the_nodes_there(cache_to: str, left: int) -> None:
    builds = [(MADE + NOT_EXPORTED, 0), (EXPORTED, 0), (EXPORTED, 0)]
    engine = FakeEngine(builds=builds)
    done(fleet_plan(cache_to=[cache_to]), engine)
    assert len(engine.built) == 1 + left


def test_a_node_that_fails_without_a_word_has_not_written_its_cache() -> None:
    outcome, _ = done(fleet_plan(), FakeEngine(builds=[(MADE, 0), (b"", 1), (EXPORTED, 0)]))
    assert [export.status for export in outcome.report.cache.exports] == ["failed", "written"]


def test_one_node_that_cannot_write_its_cache_fails_a_strict_call() -> None:
    engine = FakeEngine(builds=[(MADE, 0), (NOT_EXPORTED, 1)])
    outcome, _ = done(fleet_plan(strict_cache=True), engine)
    assert told(outcome.error) == (
        CacheError,
        f"the cache could not be written to {LINUX_AMD64}: denied: 401 Unauthorized",
        LOG_IN,
    )
    assert outcome.report.exit_code == 7


# --- the report --------------------------------------------------------------------------------------------


def test_the_report_tells_what_was_done() -> None:
    plan = planned(tag=[APP], push=True, platform=["linux/amd64"])
    outcome, display = done(plan, FakeEngine())
    report = outcome.report
    assert (report.status, report.exit_code) == ("success", 0)
    assert report.builder.name == plan.builder.name
    assert (report.builder.driver, report.builder.buildkit, report.builder.created) == (
        "docker-container",
        "unknown",
        True,
    )
    assert (report.ci.provider, report.ci.branch, report.ci.sha, report.ci.is_fork) == ("circleci", "main", SHA, False)
    assert report.images["default"].platforms == ("linux/amd64",)
    assert (report.cache.steps.total, report.cache.steps.cached, report.cache.steps.executed) == (2, 1, 1)
    assert report.cache.hit_ratio == 0.5
    assert [(step.name, step.cached, step.seconds) for step in report.steps] == [
        ("FROM scratch", True, 0.0),
        ("RUN make", False, 2.5),
    ]
    assert report.seconds >= report.phases["build"] > 0.0
    assert [event.name for event in display.events if isinstance(event, VertexEvent)] == [
        "[build 1/2] FROM scratch",
        "[build 2/2] RUN make",
    ]


def test_times_of_pushes_and_exports_are_those_that_buildkit_tells() -> None:
    stream = said(vertex("exporting cache to registry"), vertex("pushing layers"))
    outcome, _ = done(planned(tag=[APP], push=True), FakeEngine(builds=[(stream, 0)]))
    assert (outcome.report.phases["export"], outcome.report.phases["push"]) == (2.5, 2.5)


def test_notes_of_the_plan_are_warnings_of_the_report() -> None:
    note = "the image stays in the builder's cache: add --push or --load to keep it"
    outcome, display = done(planned(), FakeEngine())
    assert outcome.report.warnings == (note,)
    assert display.warned == [note]


def test_findings_of_the_dockerfile_checks_are_warnings_of_the_report() -> None:
    warning = {"vertex": "sha256:x", "level": 1, "short": "U3RhZ2VOYW1l"}
    stream = json.dumps({"warnings": [warning]}).encode() + b"\n" + MADE
    outcome, _ = done(planned(tag=[APP], push=True), FakeEngine(builds=[(stream, 0)]))
    assert outcome.report.warnings == ("StageName",)


def test_the_value_of_a_secret_build_argument_is_in_nothing_that_is_told() -> None:
    secret = "hunter2hunter2"  # noqa: S105 -- the test's own
    encoded = base64.b64encode(f"token is {secret}\n".encode()).decode()
    failed = {
        **vertex(f"[build 2/2] RUN login {secret}", error=f"process login {secret} failed: exit code: 1"),
        "digest": "sha256:failed",
    }
    log = {"logs": [{"vertex": failed["digest"], "stream": 1, "data": encoded}]}
    stream = said(failed) + f"{json.dumps(log)}\nERROR: failed to solve: process login {secret}\n".encode()
    engine = FakeEngine(builds=[(stream, 1)])
    outcome, display = done(planned(build_arg=[f"NPM_TOKEN={secret}", "GREETING=hi"]), engine)
    told = [outcome.report.to_json(), repr(outcome.error), repr(outcome.trace), repr(outcome.logs)]
    shown = [repr(event) for event in display.events]
    assert outcome.error is not None
    assert "RUN login ***" in outcome.error.message
    assert ("token is ***",) in outcome.logs.values()
    assert secret not in "".join((*told, *shown, *display.said, *display.commands))
    assert encoded not in "".join(shown)
