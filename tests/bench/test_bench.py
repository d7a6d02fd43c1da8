from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ugocc.bench.ceilings import Ceilings
from ugocc.bench.loading import QUALITY, _picture
from ugocc.bench.networks import network_jobs
from ugocc.bench.page import bench_page, growth_chart
from ugocc.bench.program import PARTS, BenchSettings, run_bench
from ugocc.bench.timing import measure, timing_of
from ugocc.errors import DataError
from ugocc.models.assemble import model_settings
from ugocc.models.cost import cost_of

CPU = torch.device("cpu")


def test_median_and_spread_of_known_times():
    timing = timing_of([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (timing.median, timing.low, timing.high, timing.runs) == (3.0, 1.4, 4.6, 5)


def test_works_take_turns_and_warm_runs_do_not_count():
    order: list[str] = []
    timings = measure({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, CPU, runs=4, warm=1)
    assert order == ["a", "b"] * 5
    assert timings["a"].runs == timings["b"].runs == 4


def test_no_further_round_begins_after_the_time_is_up_once_three_count():
    assert measure({"a": lambda: None}, CPU, runs=50, seconds=0.0)["a"].runs == 3


def test_floor_is_the_longer_of_arithmetic_and_copying():
    ceilings = Ceilings(matrix_product=1e9, convolution=2e9, copy=1e9, timings={})
    assert ceilings.floor_ms(4e6, 1e3) == pytest.approx(2.0)
    assert ceilings.floor_ms(1e3, 4e6) == pytest.approx(4.0)


def test_arithmetic_of_blocks_adds_up_to_that_of_the_network():
    settings = model_settings("ugocc", "debug")
    jobs = network_jobs(settings, CPU)
    whole = jobs["whole network, forward"].multiply_adds
    parts = sum(job.multiply_adds for name, job in jobs.items() if name.endswith(", forward")) - whole
    assert whole == pytest.approx(cost_of(settings).multiply_adds, rel=0.001)
    assert parts == pytest.approx(whole, rel=0.01)
    assert {"image_encoder", "depth_net", "lift", "branch.encoder", "branch.head"} <= {n.split(", ")[0] for n in jobs}
    for job in jobs.values():
        job.work()


def test_everything_is_measured_and_written(tmp_path: Path, tiny_fleets: Path, capsys: pytest.CaptureFixture[str]):
    page = tmp_path / "speed.md"
    page.write_text("# Speed\n\n<!-- report:bench -->\n<!-- /report:bench -->\n", encoding="utf-8")
    settings = BenchSettings(
        models=("ugocc",),
        sizes=("debug",),
        steps_size="debug",
        fleet=tiny_fleets / "six",
        matrix=256,
        runs=3,
        seconds=0.1,
        out=tmp_path / "benchmark.json",
        page=page,
    )
    content = json.loads(json.dumps(run_bench(settings)))
    assert json.loads(settings.out.read_text(encoding="utf-8")) == content
    assert set(PARTS) <= set(content)
    forward = content["networks"]["ugocc-debug"]["whole network, forward"]
    both = content["networks"]["ugocc-debug"]["whole network, forward and backward"]
    assert 0 < forward["timing"]["median"] < both["timing"]["median"]
    assert forward["times_the_floor"] == pytest.approx(forward["timing"]["median"] / forward["floor_ms"], abs=0.01)
    for profile in content["steps"]["profiles"].values():
        assert sum(profile["phases"].values()) == pytest.approx(1, abs=0.001)
        assert min(profile["phases"].values()) > 0
        assert 0 < sum(profile["operators"].values()) <= 1
    assert [p["count"] for p in content["growth"]["cameras"]] == [1, 2, 4, 6, 8, 12]
    assert set(content["growth"]["samples per second by loading processes"]) == {"1", "2"}
    memory = [p["memory_mib"] for p in content["growth"]["samples"]]
    assert memory[2] == pytest.approx(4 * memory[0], rel=0.2)
    text = page.read_text(encoding="utf-8")
    assert bench_page(content) in text
    assert (tmp_path / "images" / "growth.png").is_file()
    assert growth_chart(content).ndim == 3
    assert "adaptation step, voted" in capsys.readouterr().out


def test_wrong_names_fail_before_anything_is_measured(tmp_path: Path):
    with pytest.raises(DataError, match="bevdet-oc"):
        run_bench(BenchSettings(models=("bevdet-oc",), out=tmp_path / "b.json"))
    with pytest.raises(DataError, match="tpu"):
        run_bench(BenchSettings(device="tpu", out=tmp_path / "b.json"))
    with pytest.raises(DataError, match=r"none\.md.*No such file"):
        run_bench(BenchSettings(page=tmp_path / "none.md", out=tmp_path / "b.json"))
    assert not list(tmp_path.iterdir())
    (tmp_path / "bare.md").write_text("# Speed\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"bare\.md.*report:bench"):
        run_bench(BenchSettings(page=tmp_path / "bare.md", out=tmp_path / "b.json"))


def test_pictures_take_as_many_bytes_as_those_of_nuscenes(real_data: Path) -> None:
    recorded = [file.stat().st_size for file in (real_data / "nuscenes").glob("*/*.jpg")]
    random = np.random.default_rng(0)
    made = []
    for _ in range(3):
        Image.fromarray(_picture(random)).save(file := BytesIO(), "JPEG", quality=QUALITY)
        made.append(len(file.getvalue()))
    assert np.mean(made) == pytest.approx(np.mean(recorded), rel=0.2)
