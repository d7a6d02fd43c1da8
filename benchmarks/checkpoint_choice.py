"""Does training longer undo it, and do label-free scores find the best checkpoint? A report; labels choose nothing.

    python benchmarks/checkpoint_choice.py --run runs/ablation/six-five/seed-0/full --root data/embedded/five \
        --split test --out results/checkpoint-choice/six-five-seed-0.json

Takes the start of an adaptation run and every candidate it has kept, each with statistics estimated from the target's
training drives as the run estimates them, and evaluates them on scenes that nothing was trained on. Writes the curves
beside the label-free scores that the run gave its candidates, how well each score ranks them (Spearman's correlation
with mIoU), by how much the run's choice misses the best of them, and a picture of the curves.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from ugocc.calm import quieten
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.evaluation.evaluate import evaluate
from ugocc.results import commit, machine, replace_block, versions, write_text
from ugocc.training.checkpoint import load_model, load_tensors, read_card
from ugocc.training.statistics import estimate_statistics
from ugocc.viz.canvas import write_picture
from ugocc.viz.charts import line_chart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished adaptation run")
    parser.add_argument("--root", type=Path, required=True, help="folder of the target fleet, labelled to compare with")
    parser.add_argument("--split", default="test", help="scenes to compare on")
    parser.add_argument("--every", type=int, default=1, help="take every n-th frame")
    parser.add_argument("--cache", type=Path, default=Path("data/cache"), help="folder of prepared frames")
    parser.add_argument("--out", type=Path, required=True, help="result file")
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"), help="page whose table is rewritten")
    options = parser.parse_args()
    quieten()
    card = read_card(options.run / "model")
    recipe, scored = card["recipe"], card["choice"]["candidates"]
    model, _ = load_model(options.run / "model")
    trained_on = open_fleet(options.root, recipe["target"]["split"], None, recipe["target"]["every"])
    drives = FrameDataset(trained_on, model.settings.input, cache=options.cache, labelled=False)
    judged = FrameDataset(
        open_fleet(options.root, options.split, None, options.every), model.settings.input, cache=options.cache
    )

    weights = {
        candidate["step"]: options.run / "candidates" / f"{candidate['step']:07d}.safetensors" for candidate in scored
    }
    curve: list[dict[str, Any]] = []
    for step, file in {0: Path(recipe["start"]) / "model.safetensors", **weights}.items():
        model.load_state_dict(load_tensors(file))
        estimate_statistics(model, drives, recipe["choice"]["statistics_frames"])
        row = evaluate(model, judged, card, split=options.split, metrics=())
        curve.append({"step": step, "miou": row.miou, "iou_occupied": row.iou_occupied})
        print(f"step {step}: mIoU {row.miou:.2f}, occupied IoU {row.iou_occupied:.2f}", flush=True)

    truth = {point["step"]: point["miou"] for point in curve}
    chosen = card["choice"]["step"]
    by_score = {}
    for name in sorted({n for candidate in scored for n, v in candidate.items() if v is not None} - {"step"}):
        known = [(candidate[name], truth[candidate["step"]]) for candidate in scored if candidate[name] is not None]
        if len({v for v, _ in known}) > 1:
            by_score[name] = round(float(stats.spearmanr(*zip(*known, strict=True)).statistic), 3)
    content = {
        "curve": curve,
        "chosen": chosen,
        "points_below_the_best_candidate": round(max(truth[s] for s in weights) - truth[chosen], 3),
        "spearman_with_miou": by_score,
        "label_free_scores": scored,
        "direction": f"{card['train_fleet']}-{card['target_fleet']}",
        "seed": card["seed"],
        "split": options.split,
        "frames": len(judged),
        "weights_sha256": card["weights_sha256"],
        "recipe": recipe,
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, json.dumps(content, indent=1) + "\n")
    block = table(sorted(options.out.parent.glob("*.json")))
    write_text(options.page, replace_block(options.page.read_text(encoding="utf-8"), "report:checkpoint-choice", block))
    steps = [point["step"] for point in curve]
    lines = {"mIoU": [p["miou"] for p in curve], "occupied IoU": [p["iou_occupied"] for p in curve]}
    title = f"{content['direction']}, seed {card['seed']}, {options.split} scenes"
    picture = line_chart({k: (steps, v) for k, v in lines.items()}, title, "adaptation step", "%")
    print(f"{options.out}, {write_picture(options.out.with_suffix('.png'), picture)}; chosen: step {chosen}, "
          f"{content['points_below_the_best_candidate']:.2f} below the best candidate")  # fmt: skip


def table(files: Sequence[Path]) -> str:
    """A Markdown table of result files, one line for each run."""
    read = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    most = max(len(content["curve"]) for content in read)
    head = ["direction", "network", "seed", "split", "start", *(f"{i}/{most - 1}" for i in range(1, most))]
    head += ["chosen", "below the best candidate", "rank correlation of the score"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * 4 + "--:|" * (len(head) - 4)]
    for content in read:
        network = "{name}-{size}".format(**content["recipe"]["model"])
        points = [f"{p['miou']:.1f} ({p['iou_occupied']:.1f})" for p in content["curve"]]
        points += ["-"] * (most - len(points))
        ranks = content["spearman_with_miou"].get("combined")
        cells = [content["direction"], network, str(content["seed"]), content["split"], *points]
        cells += [f"step {content['chosen']}"]
        cells += [f"{content['points_below_the_best_candidate']:.2f}", "-" if ranks is None else f"{ranks:+.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
