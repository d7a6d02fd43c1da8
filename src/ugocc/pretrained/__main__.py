"""Put a trained model into the package, in half precision: ``python -m ugocc.pretrained MODEL_FOLDER NAME``."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ugocc.pretrained import HERE
from ugocc.training.checkpoint import load_model, load_tensors, read_card, save_model, statistics_file


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of a trained model")
    parser.add_argument("name", help="its name in the package")
    options = parser.parse_args()
    model, _ = load_model(options.model)
    card = read_card(options.model)
    statistics = {fleet: load_tensors(options.model / statistics_file(fleet)) for fleet in card["statistics_sha256"]}
    # What runs record of folders is of no use elsewhere.
    about = {
        **card,
        "recipe": {k: v for k, v in card["recipe"].items() if k not in ("run", "start", "source", "target")},
    }
    print(save_model(HERE / options.name, model, about, statistics, torch.float16))


if __name__ == "__main__":
    main()
