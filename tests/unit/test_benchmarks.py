from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks.chart import chart
from tests.benchmarks.choice import chosen
from tests.benchmarks.contenders import (
    BUILDX_LOCAL,
    BUILDX_REGISTRY,
    BUILDX_UNKEPT,
    CONTENDERS,
    LOCAL,
    LOCAL_LOAD,
    LOCAL_UNKEPT,
    RECIPE,
    REGISTRY,
    Contender,
)
from tests.benchmarks.document import document
from tests.benchmarks.goals import compared, verdicts
from tests.benchmarks.laboratory import Place, copy_cache
from tests.benchmarks.machine import machine
from tests.benchmarks.project import Variant, write_project
from tests.benchmarks.replay import Replay
from tests.benchmarks.repository import Descriptor, Manifest, Repository
from tests.benchmarks.results import Results
from tests.benchmarks.samples import Sample, executed_steps, recipe_parts
from tests.benchmarks.spread import Spread
from tests.benchmarks.tables import tables
from tests.benchmarks.weight import CALLS, LIBRARY, Weight
from tests.benchmarks.workloads import COLD, LINKED, UNCHANGED, WORKLOADS, Workload

SVG = "{http://www.w3.org/2000/svg}"
REPORT = {
    "phases": {"context": 0.25, "builder": 0.5, "build": 1.0},
    "docker_calls": 3,
    "cache": {"lazy": {"used": True}},
}


def samples(
    contender: Contender, *seconds: float, workload: Workload = UNCHANGED, size: int = 1000
) -> tuple[Sample, ...]:
    sample = Sample(
        size=size,
        workload=workload.name,
        contender=contender.name,
        seconds=0.0,
        boot=0.5,
        removal=0.25,
        peak=40 << 20 if contender.reports else 0,
        report=REPORT if contender.reports else {},
        parts={"docker buildx build": 8.0} if contender is RECIPE else {},
    )
    return tuple(replace(sample, seconds=each) for each in seconds)


def results(*taken: Iterable[Sample], weights: tuple[Weight, ...] = ()) -> Results:
    return Results(machine="a machine", samples=tuple(sample for each in taken for sample in each), weights=weights)


def library(seconds: float) -> Weight:
    return Weight(call=LIBRARY, seconds=Spread.of([seconds]), peak=0)


def rows(measured: Results, title: str) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for table in tables(measured) if table.title == title for row in table.rows}


# --- what is measured ------------------------------------------------------------------------------------


def test_names_are_unique_because_they_choose() -> None:
    names = [each.name for each in (*WORKLOADS, *CONTENDERS)]
    assert len(set(names)) == len(names)


def test_everything_is_measured_unless_something_is_named() -> None:
    choice = chosen([])
    assert (choice.sizes, choice.workloads, choice.contenders) == ((50, 1000), WORKLOADS, CONTENDERS)
    assert choice.builds
    assert choice.weight


def test_what_is_named_is_measured() -> None:
    choice = chosen(["--only", "cold", "unchanged", "recipe", "--size", "50"])
    assert (choice.sizes, choice.workloads, choice.contenders) == ((50,), (UNCHANGED, COLD), (RECIPE,))
    assert not choice.weight


@pytest.mark.parametrize("place", [(), ("--remote",)])
def test_what_a_goal_compares_at_the_largest_size_may_have_more_rounds(place: tuple[str, ...]) -> None:
    choice = chosen(["--rounds", "2", "--goal-rounds", "9", *place])
    everything = [(workload, who) for workload in choice.workloads for who in choice.contenders]
    often = {(workload, who) for workload, who in everything if choice.rounds_of(1000, workload, who) == 9}
    assert often == compared(remote=bool(place))
    assert {choice.rounds_of(50, *each) for each in everything} == {0, 2}
    assert choice.rounds_of(1000, COLD, RECIPE) == 2
    assert choice.rounds_of(1000, COLD, LOCAL_UNKEPT) == 0


def test_every_build_has_as_many_rounds_unless_told_otherwise() -> None:
    choice = chosen(["--rounds", "3"])
    assert {choice.rounds_of(1000, UNCHANGED, who) for who in choice.contenders} == {0, 3}


@pytest.mark.parametrize(("seconds", "peak", "words"), [(2.0, 40 << 20, {"met"}), (2.1, 100_000_000, {"**missed**"})])
def test_a_replay_is_fast_and_small_enough_or_not(seconds: float, peak: int, words: set[str]) -> None:
    replay = Replay(title="a stream", size=100_000_000, seconds=Spread.of([seconds]), peak=peak)
    (cells,) = rows(replace(results(), replays=(replay,)), "Progress streams").values()
    assert {cells[3], cells[5]} == words


def test_data_are_kept_in_a_folder_that_exists(tmp_path: Path) -> None:
    assert chosen(["--folder", str(tmp_path)]).folder == tmp_path
    assert chosen(["--folder", "."]).folder == Path.cwd()
    with pytest.raises(SystemExit):
        chosen(["--folder", str(tmp_path / "none")])


def test_the_machine_is_described_with_and_without_an_engine(tmp_path: Path) -> None:
    engine = {"ENGINE_KIND": "existing", "ENGINE_DOCKER_VERSION": "28.5.2", "ENGINE_BUILDX_VERSION": "0.29.1"}
    assert "Docker 28.5.2, Buildx 0.29.1, BuildKit's published image" in machine(engine, tmp_path)
    assert "Docker" not in machine({}, tmp_path)
    assert ", data on proc, " in machine({}, Path("/proc/self"))
    assert "data on" not in machine({}, None)


def test_progress_alone_builds_nothing() -> None:
    choice = chosen(["--only", "progress"])
    assert (choice.progress, choice.weight, choice.builds) == (True, False, False)


def test_the_weight_alone_builds_nothing() -> None:
    choice = chosen(["--only", "weight"])
    assert choice.weight
    assert not choice.builds


@pytest.mark.parametrize(
    "words",
    [
        ["--only", "warm"],
        ["--rounds", "0"],
        ["--rounds", "1", "--goal-rounds", "-1"],
        ["--size", "5"],
        ["--write", "--only", "cold"],
        ["--write", "--rounds", "0", "--goal-rounds", "3"],
        ["--write", "--goal-rounds", "3"],
    ],
)
def test_wrong_words_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        chosen(words)
    assert refused.value.code == 2


def test_a_command_line_names_what_the_sample_works_on() -> None:
    place = Place(folder=Path("/sample"), builder="new", image="registry/app:1", ref="registry/app:cache")
    line = " ".join(place.fill(BUILDX_LOCAL.argv))
    assert "--builder new --tag registry/app:1" in line
    assert "type=local,src=/sample/cache" in line
    assert not [word for contender in CONTENDERS for word in place.fill(contender.argv) if "{" in word]


def test_a_project_is_the_same_every_time(tmp_path: Path) -> None:
    write_project(tmp_path / "one", Variant(), size=50, base="base")
    write_project(tmp_path / "other", Variant(), size=50, base="base")
    for file in (tmp_path / "one").iterdir():
        other = tmp_path / "other" / file.name
        assert file.read_bytes() == other.read_bytes()
        assert file.stat().st_mtime == other.stat().st_mtime == 0


@pytest.mark.parametrize(
    ("variant", "changed"),
    [
        (Variant(source="changed"), {"source"}),
        (Variant(packages="changed"), {"packages"}),
        (Variant(linked=True), {"Dockerfile"}),
    ],
)
def test_a_variant_changes_one_file(tmp_path: Path, variant: Variant, changed: set[str]) -> None:
    write_project(tmp_path / "one", Variant(), size=50, base="base")
    write_project(tmp_path / "other", variant, size=50, base="base")
    different = {
        file.name
        for file in (tmp_path / "one").iterdir()
        if file.read_bytes() != (tmp_path / "other" / file.name).read_bytes()
    }
    assert different == changed


def test_a_copy_of_a_cache_shares_blobs_and_nothing_else(tmp_path: Path) -> None:
    blobs = tmp_path / "cache" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (blobs / "abc").write_text("layer")
    (tmp_path / "cache" / "index.json").write_text("{}")
    copy_cache(tmp_path / "cache", tmp_path / "copy")
    (tmp_path / "copy" / "index.json").write_text("changed")
    assert (tmp_path / "copy" / "blobs" / "sha256" / "abc").samefile(blobs / "abc")
    assert (tmp_path / "cache" / "index.json").read_text() == "{}"


def test_a_repository_tells_manifests_from_blobs_in_both_shapes_of_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    index = "application/vnd.oci.image.index.v1+json"
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "layer"}
    config = {"mediaType": "application/vnd.buildkit.cacheconfig.v0", "digest": "config"}
    image = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "image"}
    documents = {
        "tag": {"manifests": [image, {**layer, "digest": "other"}, config]},
        "image": {"config": config, "layers": [layer]},
    }

    def manifest(_: Repository, reference: str) -> Manifest | None:
        if reference not in documents:
            return None
        itself = Descriptor(digest=reference, media_type=index if reference == "tag" else image["mediaType"])
        return Manifest(content=json.dumps(documents[reference]).encode(), itself=itself)

    monkeypatch.setattr(Repository, "manifest", manifest)
    found = [*Repository(registry="", name="").reachable("tag", "absent")]
    assert [(each.path, each.is_layer) for each in found] == [
        ("manifests/tag", False),
        ("manifests/image", False),
        ("blobs/config", False),
        ("blobs/layer", True),
        ("blobs/other", True),
        ("blobs/config", False),
    ]


def test_a_base_image_that_was_pulled_is_no_executed_step() -> None:
    steps = [("FROM base", False), ("COPY a b", True), ("RUN make", False)]
    report = {"steps": [{"name": name, "cached": cached} for name, cached in steps]}
    assert executed_steps(report, b"") == 1


def test_the_commands_of_the_recipe_are_told_apart_by_their_first_words(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text(
        "10.0 set -e\n10.5 docker buildx create --use\n12.0 docker buildx build \\\n15.0 docker image push a\n"
        "15.5 docker image push b\n16.5 docker image push b\n"
    )
    assert recipe_parts(clock) == {"docker buildx create": 1.5, "docker buildx build": 3.0, "docker image push": 1.5}


# --- what is said of it ----------------------------------------------------------------------------------


def test_a_spread_is_the_median_between_the_ends() -> None:
    spread = Spread.of([3.0, 1.0, 2.5])
    assert (spread.low, spread.median, spread.high) == (1.0, 2.5, 3.0)
    assert str(spread) == "2.50s (1.00 to 3.00)"


def test_what_is_not_the_build_leaves_out_the_boot() -> None:
    assert samples(LOCAL, 2.0)[0].besides == 0.25


@pytest.mark.parametrize(("ours", "is_met"), [(1.0, True), (1.01, False)])
def test_a_goal_is_met_up_to_its_limit(ours: float, *, is_met: bool) -> None:
    measured = results(samples(LOCAL, ours), samples(RECIPE, 9.0, 10.0, 90.0))
    (verdict,) = verdicts(measured, 1000)
    assert (verdict.limit, verdict.is_met) == (1.0, is_met)
    assert (rows(measured, "Goals, 1000 MB")[verdict.title][-1] == "met") is is_met


def test_a_goal_may_be_about_one_command_of_the_recipe() -> None:
    (verdict,) = verdicts(results(samples(LOCAL_LOAD, 4.0), samples(RECIPE, 20.0)), 1000)
    assert (verdict.theirs, verdict.limit) == (8.0, 4.0)
    assert verdict.title.endswith("recipe's `docker buildx build`")


def test_a_goal_allows_for_a_slow_machine_beside_the_ratio() -> None:
    builds = (samples(REGISTRY, 10.9, workload=COLD), samples(BUILDX_REGISTRY, 10.0, workload=COLD))
    (verdict,) = verdicts(results(*builds, weights=(library(0.5),)), 1000)
    assert verdict.limit == pytest.approx(10.5 + 3.9 * 0.5)


def test_an_engine_on_another_machine_has_goals_for_it() -> None:
    builds = (samples(LOCAL_UNKEPT, 4.0), samples(BUILDX_UNKEPT, 2.0))
    (verdict,) = verdicts(replace(results(*builds, weights=(library(0.5),)), remote=True), 1000)
    assert verdict.limit == pytest.approx(2.6 + 5 * 0.5)


def test_goals_are_about_what_is_measured() -> None:
    for remote in (False, True):
        assert all(who in CONTENDERS and workload.name in who.workloads for workload, who in compared(remote=remote))


def test_the_goals_are_those_of_the_largest_image() -> None:
    measured = results(*(samples(each, 1.0, size=size) for each in (LOCAL, RECIPE) for size in (1000, 50)))
    titles = [table.title for table in tables(measured)]
    assert titles[:3] == ["An image of 50 MB", "An image of 1000 MB", "Goals, 1000 MB"]


def test_what_was_not_measured_is_a_dash() -> None:
    measured = results(samples(RECIPE, 5.0), samples(LOCAL, 1.0, workload=LINKED))
    table = rows(measured, "An image of 1000 MB")
    assert table["recipe"] == ("5.00s", "—")
    assert table[LOCAL.title][0] == "—"


def test_what_this_program_adds_to_a_warm_build() -> None:
    measured = results(samples(LOCAL, 2.5, 3.0), weights=(library(0.2),))
    cells = rows(measured, "Besides the build: unchanged, 1000 MB")[LOCAL.title]
    assert cells == ("1.00s (0.75 to 1.25)", "**missed**", "3", "40.0 MiB", "yes")
    assert "not the build (goal 0.78s)" in {head for table in tables(measured) for head in table.head}


def test_calls_without_a_build_are_ratios_to_the_librarys_import() -> None:
    weights = tuple(
        Weight(call=call, seconds=Spread.of([0.01 * number]), peak=0) for number, call in enumerate(CALLS, start=1)
    )
    table = rows(results(weights=weights), "Without a build")
    assert table[LIBRARY.title][1] == "1.0"
    assert table["`buildx-cache --help`"] == ("0.04s", "4.0", "1.94", "**missed**", "—")


def test_the_document_has_every_table_and_nothing_to_be_filled_in() -> None:
    measured = results(samples(LOCAL, 1.0, 2.0, 3.0), samples(RECIPE, 10.0))
    text = document(measured)
    assert "a machine" in text
    assert "Rounds: 1 or 3." in text
    assert "{" not in text
    assert all(f"## {table.title}\n" in text for table in tables(measured))
    assert "| recipe | 10.00s |" in text


def test_bars_are_as_long_as_medians_within_a_workload() -> None:
    measured = results(
        samples(RECIPE, 8.0), samples(LOCAL, 2.0), samples(LOCAL, 1.0, workload=COLD), samples(RECIPE, 99.0, size=50)
    )
    drawing = ET.fromstring(chart(measured, 1000))  # noqa: S314 -- our own
    bars = [(bar.get("class"), float(bar.get("width", 0))) for bar in drawing.iter(f"{SVG}rect")]
    assert [kind for kind, _ in bars] == ["other", "own", "own"]
    recipe, unchanged, cold = (width for _, width in bars)
    assert recipe == pytest.approx(4 * unchanged, abs=0.2)
    assert cold == recipe


def test_a_chart_shows_the_spread_and_says_the_median() -> None:
    drawing = ET.fromstring(chart(results(samples(RECIPE, 2.0, 4.0, 8.0)), 1000))  # noqa: S314 -- our own
    line, bar = drawing.find(f"{SVG}line"), drawing.find(f"{SVG}rect")
    assert line is not None
    assert bar is not None
    left, width = float(bar.get("x", 0)), float(bar.get("width", 0))
    assert float(line.get("x1", 0)) == pytest.approx(left + width / 2, abs=0.1)
    assert float(line.get("x2", 0)) == pytest.approx(left + width * 2, abs=0.2)
    assert "4.00s" in [text.text for text in drawing.iter(f"{SVG}text")]
