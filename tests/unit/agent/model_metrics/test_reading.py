"""What a page of metrics says, by model; and whatever is wrong with it costs the model that wrote it, and no other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from overbook.agent.model_metrics.reading import SERVER, TOLD, Bounds, Reading, read
from overbook.agent.servers.protocol import Exposition
from overbook.metrics.families import Labels

SMALL = Bounds(series=20, text=2000, name=30, label=20, labels=4, line=200, documentation=10)
GOOD = "# HELP rows_total Rows.\n# TYPE rows_total counter\nrows_total 3\n"


def nobody(_name: str) -> bool:
    return False


def of_models(bounds: Bounds = SMALL, **texts: str) -> Reading:
    models = {name: text.encode() for name, text in texts.items()}
    return read(Exposition(models=models), nobody, bounds)


def shared(
    text: str, *loaded: str, known: str = "", assigned: Callable[[str], bool] = nobody
) -> Reading:
    names = frozenset(loaded)
    exposition = Exposition(
        shared=text.encode(), loaded=names, known=names | frozenset(known.split())
    )
    return read(exposition, assigned, SMALL)


def found(reading: Reading, model: str) -> dict[tuple[str, Labels], float]:
    return {
        (each.name, each.labels): each.value
        for family in reading.families.get(model, {}).values()
        for each in family.series
    }


# -- who it is of


def test_a_model_is_known_by_its_own_text_and_may_not_pose_as_another() -> None:
    text = (
        "# HELP size Sizes.\n# TYPE size gauge\n"
        'size{model_name="a",model_version="",kind="x"} 1\n'
        'size{model_name="b",model_version="3"} 2\n'
        'size{server="mine",replica="7",model="b"} 3\n'
    )
    reading = of_models(a=text)
    assert set(reading.families) == {"a"}
    assert found(reading, "a") == {
        ("size", (("kind", "x"),)): 1.0,
        ("size", (("model_name", "b"), ("version", "3"))): 2.0,
        (
            "size",
            (("exported_model", "b"), ("exported_replica", "7"), ("exported_server", "mine")),
        ): 3.0,
    }
    assert not reading.dropped


TRITON = """
# HELP nv_inference_count Number of inferences performed
# TYPE nv_inference_count counter
nv_inference_count{model="a",version="1"} 4
nv_inference_count{model="b",version="1"} 5
nv_inference_count{model="left",version="1"} 6
nv_inference_count{model="foreign",version="1"} 7
# HELP nv_cpu_utilization CPU utilization rate
# TYPE nv_cpu_utilization gauge
nv_cpu_utilization 0.25
# HELP mine A model's own.
# TYPE mine gauge
mine{model="left"} 1
mine{model="moving"} 2
mine{model="large",x="a,model=\\"a\\""} 3
mine{x="y"} 4
"""


def test_a_shared_text_says_by_a_label_whose_it_is() -> None:
    reading = shared(TRITON, "a", "b", known="left", assigned=lambda name: name == "moving")
    assert found(reading, "a") == {("nv_inference_count", (("version", "1"),)): 4.0}
    assert found(reading, "b") == {("nv_inference_count", (("version", "1"),)): 5.0}
    assert reading.families["a"]["nv_inference_count"].kind == "counter"
    # Of no model: the server's, and what bears a word of the model's own that is none of ours.
    assert found(reading, SERVER) == {
        ("nv_cpu_utilization", ()): 0.25,
        ("mine", (("exported_model", "large"), ("x", 'a,model="a"'))): 3.0,
        ("mine", (("x", "y"),)): 4.0,
    }
    assert set(reading.families) == {"a", "b", SERVER}
    assert not reading.dropped


# -- names, kinds and texts


def test_names_and_kinds_stay_as_they_are() -> None:
    reading = of_models(
        a="# TYPE rows_total counter\nrows_total 1\n"
        "# TYPE plain counter\nplain 2\n"
        "# TYPE level gauge\nlevel -3\n"
        "# TYPE odd info\nodd 4\n"
        "alone 5\n"
        'alone{x="y"} 6\n'
    )
    kinds = {family.name: family.kind for family in reading.families["a"].values()}
    assert kinds == {
        "rows_total": "counter",
        "plain": "counter",
        "level": "gauge",
        "odd": "untyped",
        "alone": "untyped",
    }
    assert found(reading, "a") == {
        ("rows_total", ()): 1.0,
        ("plain", ()): 2.0,
        ("level", ()): -3.0,
        ("odd", ()): 4.0,
        ("alone", ()): 5.0,
        ("alone", (("x", "y"),)): 6.0,
    }
    assert not reading.dropped


def test_when_a_counter_began_is_left_out_and_texts_are_cut() -> None:
    reading = of_models(
        a="# HELP rows_created When\n# TYPE rows_created gauge\nrows_created 1.7e9\n"
        "# HELP level A very long story\n# comment\n# TYPE level gauge\nlevel 1\n"
    )
    assert [each.documentation for each in reading.families["a"].values()] == ["A very lon"]
    assert not reading.dropped


def histogram(name: str, *, label: str = "", last: str = "3") -> str:
    inside = f'x="{label}",' if label else ""
    return (
        f'{name}_bucket{{{inside}le="1.0"}} 2\n{name}_bucket{{{inside}le="+Inf"}} 3\n'
        f"{name}_count{{{inside}}} {last}\n{name}_sum{{{inside}}} -4.5\n"
    )


def test_a_histogram_is_read_whole() -> None:
    reading = of_models(a="# TYPE size histogram\n" + histogram("size"))
    assert found(reading, "a") == {
        ("size_bucket", (("le", "1.0"),)): 2.0,
        ("size_bucket", (("le", "+Inf"),)): 3.0,
        ("size_count", ()): 3.0,
        ("size_sum", ()): -4.5,
    }


# -- what is dropped


def test_each_reason_has_words() -> None:
    assert set(TOLD) == {"flood", "long", "name", "clash", "value", "unreadable", "hangs"}


@pytest.mark.parametrize(
    ("reason", "bad"),
    [
        ("unreadable", "# TYPE x gauge\nx{ 1\n"),
        ("unreadable", "# TYPE x gauge\nx one\n"),
        ("unreadable", "# TYPE x gauge\nx " + "9" * 180 + "e999x\n"),
        ("unreadable", "<html>not found</html>\n"),
        ("long", '# TYPE x gauge\nx{a="' + "v" * 30 + '"} 1\n'),
        ("long", "# TYPE x gauge\nx{" + "n" * 30 + '="v"} 1\n'),
        ("long", "# TYPE x gauge\nx{" + ",".join(f'l{i}="v"' for i in range(9)) + "} 1\n"),
        ("long", '# TYPE x gauge\nx{a="' + "v" * 300 + '"} 1\n'),
        ("long", f"# TYPE {'n' * 40} gauge\n{'n' * 40} 1\n"),
        ("name", '# TYPE x gauge\nx{"a.b"="1"} 1\n'),
        ("name", "# TYPE overbook_models gauge\noverbook_models 1\n"),
        ("name", "# TYPE nv_inference_count gauge\nnv_inference_count 1\n"),
        ("value", "# TYPE x_total counter\nx_total NaN\n"),
        ("value", "# TYPE x_total counter\nx_total -1\n"),
        ("value", "# TYPE x_total counter\nx_total +Inf\n"),
        ("value", "# TYPE x summary\nx_sum NaN\n"),
        ("value", '# TYPE x summary\nx{quantile="much"} 1\n'),
        ("clash", "# TYPE x gauge\nx 1\nx 1\n"),
        ("clash", "# TYPE x gauge\nx 1\n# TYPE y gauge\ny 1\n# TYPE x counter\nx 1\n"),
    ],
)
def test_what_is_wrong_is_dropped_alone_and_counted(reason: str, bad: str) -> None:
    reading = of_models(a=bad + GOOD, b=GOOD)
    assert reading.dropped.keys() == {("a", reason)}
    assert found(reading, "a").get(("rows_total", ())) == 3.0
    assert found(reading, "b") == {("rows_total", ()): 3.0}


def test_gauges_and_quantiles_may_be_no_number() -> None:
    reading = of_models(
        a='# TYPE x gauge\nx NaN\n# TYPE y summary\ny{quantile="0.5"} NaN\ny_count 0\ny_sum 0\n'
    )
    assert len(found(reading, "a")) == 4
    assert not reading.dropped


def test_a_server_may_not_take_the_names_that_count_a_models_requests() -> None:
    reading = shared("# TYPE model_infer_request_x counter\nmodel_infer_request_x 1\n")
    assert reading.dropped == {(SERVER, "name"): 1}


def test_a_flood_is_cut_off_and_costs_nobody_else() -> None:
    flood = "".join(f'x{{n="{i}"}} 1\n' for i in range(100_000))
    reading = of_models(a="# TYPE x gauge\n" + flood + GOOD, b=GOOD)
    assert len(found(reading, "a")) == SMALL.series
    assert reading.dropped == {("a", "flood"): 100_000 - SMALL.series + 1}
    assert found(reading, "b") == {("rows_total", ()): 3.0}


def test_many_long_lines_are_a_flood_as_well() -> None:
    lines = "".join(f'x{{n="{i}",text="{"v" * 19}",more="{"w" * 19}"}} 1\n' for i in range(20))
    reading = of_models(a="# TYPE x gauge\n" + lines * 3)
    assert 0 < len(found(reading, "a")) <= SMALL.series
    tight = of_models(Bounds(text=100), a="# TYPE x gauge\n" + lines)
    assert len(found(tight, "a")) == 2
    assert tight.dropped == {("a", "flood"): 18}


def test_a_flood_in_a_shared_text_leaves_the_servers_own_and_others() -> None:
    flood = "".join(f'x{{model="a",n="{i}"}} 1\n' for i in range(1000))
    other = '# TYPE y gauge\ny{model="b"} 1\n'
    reading = shared("# TYPE x gauge\n" + flood + other + TRITON, "a", "b")
    assert ("nv_inference_count", (("version", "1"),)) in found(reading, "a")
    assert ("y", ()) in found(reading, "b")
    assert reading.dropped.keys() == {("a", "flood")}


def test_half_a_histogram_is_none() -> None:
    lines = "".join(histogram("size", label=f"v{i}") for i in range(10))
    reading = of_models(a="# TYPE size histogram\n" + lines)
    wholes = {dict(labels)["x"] for _, labels in found(reading, "a")}
    assert len(found(reading, "a")) == 4 * len(wholes) == 16
    assert reading.dropped == {("a", "flood"): 24}
    broken = (
        "# TYPE size histogram\n" + histogram("size", label="bad", last="NaN") + histogram("size")
    )
    reading = of_models(a=broken)
    assert len(found(reading, "a")) == 4
    assert reading.dropped == {("a", "value"): 4}


def test_what_the_server_left_out_is_counted() -> None:
    exposition = Exposition(
        models={"a": GOOD.encode()}, dropped={"a": {"flood": 7}, "b": {"hangs": 1}}
    )
    reading = read(exposition, nobody, SMALL)
    assert reading.dropped == {("a", "flood"): 7, ("b", "hangs"): 1}
    assert not read(Exposition(), nobody, SMALL).families
