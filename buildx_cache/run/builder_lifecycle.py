"""Create, boot, restart and remove the builder of a call as planned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import Enum, auto

from buildx_cache.buildkit.causes import Kind
from buildx_cache.buildkit.classify import Problem, classify
from buildx_cache.buildkit.error_texts import Operation
from buildx_cache.errors import BuildxCacheError, DeniedError, EngineError, InterruptedBuildError
from buildx_cache.plan import BuilderPlan, Effect
from buildx_cache.plan.effects import CreateNode
from buildx_cache.run.interfaces import Finished, last_line
from buildx_cache.run.retry import Retrying, ended_by


class _State(Enum):
    """How far this call is with its builder."""

    PLANNED = auto()
    BEGUN = auto()
    READY = auto()


class CallsBuilder:
    """The builder of one call.

    Args:
        plan: the planned builder.
        do: carries out an effect.
        phase: times a phase of the call.
        retrying: the retries of the call.
    """

    def __init__(
        self,
        plan: BuilderPlan,
        do: Callable[[Effect], Finished],
        phase: Callable[[str], AbstractContextManager[None]],
        retrying: Retrying,
    ) -> None:
        self._plan = plan
        self._do = do
        self._phase = phase
        self._retrying = retrying
        self._state = _State.PLANNED

    @contextmanager
    def undone_unless_ready(self) -> Iterator[None]:
        """Prepare the builder in this context; on failure, remove the new builder or the temporary one."""
        try:
            yield
            self._state = _State.READY
        except BuildxCacheError:
            is_of_call = self._state is _State.BEGUN if self._plan.create else self._plan.temporary
            if is_of_call:
                self._undo()
            raise

    def prepare_context(self) -> None:
        """Create the Docker context of the builder if it does not exist.

        Raises:
            EngineError: the context cannot be created.
        """
        if self._plan.context:
            with self._phase("context"):
                self._must(self._plan.context, "the Docker context could not be made")

    def prepare(self) -> None:
        """Create and boot the builder, unless it exists and runs.

        Raises:
            EngineError: the builder cannot be created or does not boot.
            DeniedError: the builder's image may not be pulled.
        """
        plan = self._plan
        for effect in plan.create:
            # Another call may have created the same builder since the plan was made: the build boots it.
            failure = f"the builder {plan.name!r} could not be made or does not boot"
            self._must(effect, failure, tolerated=Kind.BUILDER_EXISTS)
        if plan.boot:
            self._must(plan.boot, f"the builder {plan.name!r} does not boot")

    @property
    def can_restart(self) -> bool:
        """Whether the builder belongs to this program and the engine can stop it."""
        return self._plan.halt is not None and self._plan.reboot is not None

    def restart(self) -> None:
        """Stop the builder with everything that runs in it, and boot it again, if the plan allows that.

        Raises:
            EngineError: the builder does not boot.
        """
        if self._plan.halt and self._plan.reboot:
            with self._phase("builder"):
                self._do(self._plan.halt)
                self._must(self._plan.reboot, f"the builder {self._plan.name!r} does not boot")

    def halt(self) -> None:
        """Stop a temporary builder at once; BuildKit would wait ten seconds for a registry that does not answer."""
        if self._plan.temporary and self._plan.halt and self._state is _State.READY:
            self._do(self._plan.halt)

    def remove(self) -> str:
        """Remove a temporary builder, even if a signal arrives meanwhile; return the reason of a failure, or ""."""
        if not (self._plan.temporary and self._state is _State.READY):
            return ""
        try:
            return self._undo()
        except InterruptedBuildError:
            self._undo()  # a second signal raises nothing
            for effect in self._plan.scrap:
                self._do(effect)
            raise

    def _undo(self) -> str:
        ended = [self._do(effect) for effect in self._plan.remove]
        return next((last_line(done) for done in ended if done.code != 0), "")

    def _must(self, effect: Effect, failure: str, *, tolerated: Kind | None = None) -> None:
        if self._state is _State.PLANNED:
            self._state = _State.BEGUN
        # Buildx refuses to create a builder twice: where it was created and did not boot, only boot it.
        boots = isinstance(effect, CreateNode) and effect.bootstrap
        again = self._plan.reboot if self._plan.reboot and boots else effect
        done = self._retrying.tried(self._do(effect), lambda: self._do(again), lambda done: ended_by("builder", done))
        if done.code == 0:
            return
        problem = classify(done.stderr)
        if problem.kind is tolerated:
            return
        if problem.kind in _REFUSED:
            raise DeniedError(f"{failure}: {last_line(done)}", code=problem.kind.value, hint=_LOGIN)
        raise EngineError(f"{failure}: {last_line(done)}", code="builder-not-startable", hint=_hint(problem))


_REFUSED = (Kind.UNAUTHORIZED, Kind.DENIED)
_LOGIN = "log in to the registry of --buildkit-image, with --registry, --username and a password"


def _hint(problem: Problem) -> str:
    if problem.operation is Operation.PULL_IMAGE:
        return "check --buildkit-image and that the engine can pull it; behind a mirror, name the image there"
    return "look at it with `docker buildx inspect NAME`; `docker buildx rm NAME` has it made anew"
