"""README.md of a model folder: its model card, in the format of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ugocc.results import Row, markdown_table


def model_card(card: Mapping[str, Any], rows: Sequence[Row] = ()) -> str:
    """Front matter and text of a model card.

    Args:
        card: the ``model.json`` of the folder.
        rows: what it scored, if it was evaluated.
    """
    network = card["model"]
    name = f"{network['name']}-{network['size']}"
    fleets = [fleet for fleet in (card.get("train_fleet"), card.get("target_fleet")) if fleet]
    front: dict[str, Any] = {
        "library_name": "ugocc",
        "license": "other",
        "license_name": "that-of-the-training-data",
        "tags": ["occupancy", "autonomous-driving", "domain-adaptation", *fleets],
    }
    if rows:
        front["model-index"] = [{"name": f"{name} {card.get('variant', '')}".strip(), "results": _index(rows)}]
    grid, inputs = network["input"]["grid"], network["input"]
    shape = " x ".join(str(n) for n in grid["shape"])
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        "",
        f"# {name}, {card.get('variant', 'unknown variant')}",
        "",
        f"Semantic occupancy from cameras: pictures of {inputs['width']} x {inputs['height']} pixels of any rig to a "
        f"volume of {shape} voxels of {grid['voxel_size']:g} m with {len(card['classes'])} classes "
        f"({', '.join(card['classes'])}).",
        "",
        "## Use",
        "",
        "```python",
        "from ugocc.data.source import open_fleet",
        "from ugocc.serving.predictor import Predictor",
        "",
        'predictor = Predictor.from_pretrained("PATH OR HUB ID OF THIS FOLDER")',
        'volume = predictor(open_fleet("YOUR RECORDINGS", split="val")[0])',
        "```",
        "",
        "## Training",
        "",
        f"- Labels of: {card.get('train_fleet', 'unknown')}.",
    ]
    if card.get("target_fleet"):
        supervision = card.get("target_supervision", "none")
        lines.append(f"- Adapted to: {card['target_fleet']}; supervision there: {supervision}.")
    steps = card.get("steps_with_earlier_stages", card.get("steps"))
    if steps:
        lines.append(f"- {steps} optimisation steps, seed {card.get('seed', 0)}; the recipe is in `model.json`.")
    lines += [
        f"- Code: commit `{card.get('commit', 'unknown')}`.",
        f"- Weights: SHA-256 `{card['weights_sha256']}`.",
        "",
    ]
    if rows:
        lines += ["## Evaluation", "", markdown_table(rows)]
    lines += [
        "## Limits",
        "",
        "Trained on the fleets above and measured on them alone. Do not let a car be driven by it. The weights derive "
        "from the training data, whose licence applies to them.",
        "",
    ]
    return "\n".join(lines)


def _index(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [
        {
            "task": {"type": "semantic-occupancy", "name": "3D semantic occupancy"},
            "dataset": {"name": row.eval_fleet, "type": row.eval_fleet, "split": row.split},
            "metrics": [
                {"type": "map_ten_class", "name": f"mIoU, mask {row.mask}", "value": round(row.miou, 2)},
                {"type": "iou_occupied", "name": "occupied IoU", "value": round(row.iou_occupied, 2)},
            ],
        }
        for row in rows
    ]
